"""What workers did, in one file: each line is one write, so it is there even if its writer is killed next."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path


class Book:
    """The workers' side."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def started(self, workflow: str, step: str) -> None:
        self._write("start", workflow, step)

    def finished(self, workflow: str, step: str) -> None:
        self._write("finish", workflow, step)

    def ended(self, workflow: str, event: str, status: str) -> None:
        self._write("end", workflow, event, status)

    def _write(self, *words: str) -> None:
        os.write(self._file, f"{os.getpid()} {' '.join(words)}\n".encode())


class Ledger:
    """The other side: reads on from where it was."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self.runs: Counter[tuple[str, str]] = Counter()
        """How often the body of (workflow, step) was started."""
        self.ends: defaultdict[str, list[str]] = defaultdict(list)
        """Ids and statuses of the events that say that a workflow has ended."""
        self._at_work: dict[int, list[tuple[str, str]]] = {}

    @property
    def started(self) -> int:
        self.read()
        return self.runs.total()

    def at_work(self, process: int) -> int | None:
        """Bodies that the process has started and not finished, if it lives; ``None`` if it never started any."""
        self.read()
        return len(self._at_work[process]) if process in self._at_work else None

    def read(self) -> None:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            process, what, workflow, *words = line.decode().split()
            self._note(int(process), what, workflow, words)

    def _note(self, process: int, what: str, workflow: str, words: list[str]) -> None:
        if what == "end":
            self.ends[workflow].append(" ".join(words))
            return
        step = (workflow, words[0])
        if what == "start":
            self.runs[step] += 1
            self._at_work.setdefault(process, []).append(step)
        else:
            self._at_work[process].remove(step)

    def close(self) -> None:
        self._file.close()
