"""Wakes other instances on the same file: one datagram to each after a commit that concerns them.

Each connected instance binds a socket in the directory beside the database, which every process on the
file agrees on. A lost ring does no harm: whoever waits looks again twice a second.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from .ops import News

_log = logging.getLogger("paigeant.sqlite")
_LONGEST_PATH = 100
"""Bytes in the address of a Unix socket: 108 on Linux, 104 on macOS."""
_SUFFIX = ".sock"
_LONGEST_RING = 512
_OVERFLOW = 8
"""So many rings at once may mean that the kernel dropped some: then everything may have changed."""


def bell_directory(runtime: Path) -> Path:
    """Where the sockets are: ``runtime``, or a short stand-in for it if its path is too long for a socket."""
    if len(os.fsencode(runtime)) + 1 + 16 + len(_SUFFIX) <= _LONGEST_PATH:
        return runtime
    digest = hashlib.sha256(os.fsencode(runtime)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"paigeant-{os.getuid()}", digest)


def private_directory(path: Path) -> Path:
    """Make ``path`` with mode 0700; refuse one that others could have prepared for us.

    :raises PermissionError: it belongs to someone else, or is not a directory.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "not a directory of this user", str(path))
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    return path


class Doorbell:
    """One socket to hear with, one to ring with."""

    def __init__(self, runtime: Path) -> None:
        self._runtime, self._directory = runtime, bell_directory(runtime)
        self._name = secrets.token_hex(8) + _SUFFIX
        self._ear: socket.socket | None = None
        self._hand = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._hand.setblocking(False)

    def open(self) -> None:
        """Bind the socket. Where that cannot be, instances hear of each other by polling only."""
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            ear.setblocking(False)
            self._bind(ear)
        except OSError as exc:
            ear.close()
            _log.warning("no doorbell in %s (%s): other processes are heard within 0.5 s only", self._directory, exc)
        else:
            self._ear = ear

    def _bind(self, ear: socket.socket) -> None:
        if self._directory != self._runtime:
            private_directory(self._directory.parent)
        try:
            ear.bind(str(private_directory(self._directory) / self._name))
        except FileNotFoundError:  # the last to leave has just removed the directory
            ear.bind(str(private_directory(self._directory) / self._name))

    @property
    def fileno(self) -> int | None:
        """What the event loop reads from; ``None`` without a socket."""
        return None if self._ear is None else self._ear.fileno()

    def close(self) -> None:
        """Remove the socket."""
        self._hand.close()
        if self._ear is not None:
            self._ear.close()
            with contextlib.suppress(OSError):
                (self._directory / self._name).unlink()
                if self._directory != self._runtime:
                    self._directory.rmdir()  # fails unless we are the last

    def ring(self, news: News) -> None:
        """Tell all others. Never raises, never blocks."""
        text = " ".join(["kv"] * news.entries + [str(queue) for queue in news.queues]).encode()
        if not text:
            return
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX) and entry.name != self._name:
                    self._send(text if len(text) <= _LONGEST_RING else b"*", entry.path)

    def listen(self, heard: Callable[[News | None], None]) -> None:
        """Read what has arrived and pass on its sum; ``None``: anything may have changed."""
        news, count = News(), 0
        while count < _OVERFLOW and (text := self._receive()) is not None:
            count += 1
            if not _read(text, news):
                count = _OVERFLOW
        if count:
            heard(news if count < _OVERFLOW else None)

    def _receive(self) -> bytes | None:
        try:
            return None if self._ear is None else self._ear.recv(_LONGEST_RING)
        except OSError:
            return None

    def _send(self, text: bytes, path: str) -> None:
        try:
            self._hand.sendto(text, path)
        except ConnectionRefusedError:  # its process died
            with contextlib.suppress(OSError):
                Path(path).unlink()
        except OSError:
            pass  # gone, or its buffer is full and so it will look anyway


def _read(text: bytes, news: News) -> bool:
    for word in text.split():
        if word == b"kv":
            news.entries = True
        elif word.isdigit():
            news.queues.add(int(word))
        else:
            return False
    return True
