"""Worker processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rig.processes import Program

from .ledger import Ledger

ROOT = Path(__file__).parents[3]
STOPPING = 60.0
"""Seconds for a worker to end after SIGTERM: its grace, and a busy machine."""


class WorkerProcess(Program):
    """One worker, with an exit code."""

    @property
    def code(self) -> int | None:
        return self._process.poll()


class Fleet:
    """``size`` workers: who dies is replaced.

    :param chance: chooses the victims.
    """

    def __init__(
        self, size: int, directory: Path, environment: Mapping[str, str], ledger: Ledger, chance: random.Random
    ) -> None:
        self._size, self._directory, self._ledger, self._chance = size, directory, ledger, chance
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **environment}
        self._environment["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self.log = directory / "workers.log"
        self.workers: list[WorkerProcess] = []

    def start(self) -> None:
        while len(self.workers) < self._size:
            command = [sys.executable, "-m", "tests.chaos.brokers.app"]
            self.workers.append(
                WorkerProcess(command, directory=self._directory, environment=self._environment, log=self.log)
            )

    def busy(self) -> WorkerProcess | None:
        """One that is in the middle of a step, if any is."""
        self.check()
        busy = [worker for worker in self.workers if self._ledger.at_work(worker.pid)]
        return self._chance.choice(busy) if busy else None

    def kill(self, worker: WorkerProcess) -> None:
        """``SIGKILL``; another takes its place."""
        worker.kill()
        self.workers.remove(worker)
        self.start()

    def check(self) -> None:
        """No worker ends by itself, whatever happens around it."""
        ended = [worker for worker in self.workers if worker.code is not None]
        assert not ended, f"a worker ended by itself with code {ended[0].code}\n{ended[0].said(60)}"

    async def stop(self) -> None:
        """``SIGTERM`` to all; each ends in order."""
        self.check()
        for worker in self.workers:
            worker.send(signal.SIGTERM)
        deadline = time.monotonic() + STOPPING
        while any(worker.code is None for worker in self.workers) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        codes = [worker.code for worker in self.workers]
        assert codes == [0] * len(codes), f"workers ended with {codes} after SIGTERM\n{self.said()}"
        self.close()

    def close(self) -> None:
        """Kill whatever is left. Idempotent."""
        while self.workers:
            self.workers.pop().kill()

    def said(self, lines: int = 60) -> str:
        """The end of what they logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
