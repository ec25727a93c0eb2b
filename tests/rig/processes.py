"""A program in a process group of its own, which never outlives the tests."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

WATCHDOG = Path(__file__).with_name("watchdog.py")
STOPPING = 20.0
"""Seconds for a server to stop when asked; then it is killed."""


class _Leash:
    """What the watchdog is told: one for this process, started with the first program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchdog: subprocess.Popen[bytes] | None = None

    def tell(self, text: str) -> None:
        with self._lock:
            if self._watchdog is None:
                command = [sys.executable, "-I", "-S", str(WATCHDOG)]
                self._watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
                atexit.register(self._close)
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.write(f"{text}\n".encode())
            self._watchdog.stdin.flush()

    def _close(self) -> None:
        assert self._watchdog is not None and self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()


_leash = _Leash()


class Program:
    """A running program, its children included.

    :param log: gets all that it prints.
    :param environment: all of it; nothing is inherited.
    """

    def __init__(self, command: Sequence[str], *, directory: Path, environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = log
        _leash.tell(f"+{self.pid}")

    @property
    def pid(self) -> int:
        """Of the program, and of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """To the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def pause(self) -> None:
        """``SIGSTOP``; it has stopped when this returns: a thread on another core goes on for a moment."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        """``SIGKILL``, now."""
        self.send(signal.SIGKILL)
        self._process.wait()
        _leash.tell(f"-{self.pid}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop, and wait; even if it is paused."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            self.send(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOPPING)
        self.kill()

    def said(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
