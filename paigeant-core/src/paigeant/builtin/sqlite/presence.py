"""One locked file per consumer: the kernel frees the lock when its process dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import weakref
from pathlib import Path

from .doorbell import private_directory

_SUFFIX = ".lock"


class Presence:
    """Says that the consumer ``owner`` is alive, and which queues it serves."""

    def __init__(self, runtime: Path, lines: list[str]) -> None:
        private_directory(runtime)
        while True:
            self.owner = secrets.randbits(48)
            self._path = runtime / f"{self.owner:012x}{_SUFFIX}"
            self._file = _create(self._path)
            if self._file >= 0:
                break
        os.write(self._file, "\n".join(lines).encode())
        _held.add(self)

    def close(self) -> None:
        """Remove the file and free the lock."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self.abandon()

    def abandon(self) -> None:
        """Close the file. After a fork the child must not keep its parent alive."""
        os.close(self._file)
        self._file = -1
        _held.discard(self)


class Deceased:
    """A consumer whose process died, held so that only one instance buries it."""

    def __init__(self, path: Path, file: int) -> None:
        self.owner = int(path.stem, 16)
        self._path, self._file = path, file

    def close(self, *, buried: bool) -> None:
        """Let go of it; remove the file once its leases are freed."""
        if buried:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._file)


def find_dead(runtime: Path) -> list[Deceased]:
    """The consumers whose lock can be taken."""
    dead: list[Deceased] = []
    for path in _files(runtime):
        file = _seize(path)
        if file >= 0:
            dead.append(Deceased(path, file))
    return dead


def count_consumers(runtime: Path) -> dict[str, int]:
    """How many live consumers serve each line given to ``Presence``."""
    counts: dict[str, int] = {}
    for path in _files(runtime):
        file = _seize(path)
        if file >= 0:
            os.close(file)
            continue
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                counts[line] = counts.get(line, 0) + 1
    return counts


_held: weakref.WeakSet[Presence] = weakref.WeakSet()


def _abandon_all() -> None:
    for presence in list(_held):
        presence.abandon()


os.register_at_fork(after_in_child=_abandon_all)


def _files(runtime: Path) -> list[Path]:
    try:
        return [path for path in runtime.iterdir() if path.suffix == _SUFFIX and _is_owner(path.stem)]
    except OSError:
        return []


def _is_owner(stem: str) -> bool:
    return len(stem) == 12 and set(stem) <= set("0123456789abcdef")


def _create(path: Path) -> int:
    """A new locked file, or -1 if someone who looks for the dead was faster than our lock."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return _lock(file, path)


def _seize(path: Path) -> int:
    """The file with its lock, or -1 if its owner lives or it is gone."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return -1
    return _lock(file, path)


def _lock(file: int, path: Path) -> int:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), path.stat()):
            return file
    except OSError:
        pass
    os.close(file)
    return -1
