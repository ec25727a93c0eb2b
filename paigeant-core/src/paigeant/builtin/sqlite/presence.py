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
_HEX = set("0123456789abcdef")


def runtime_directory(path: Path) -> Path:
    """Where the locked files and sockets of a database are."""
    return path.with_name(path.name + ".d")


class Presence:
    """Says that the consumer ``owner`` is alive, and what it serves. Its methods block, briefly.

    :param runtime: the directory of such files.
    :param lines: what the consumer serves, for ``count_consumers``.
    """

    def __init__(self, runtime: Path, lines: list[str]) -> None:
        self.owner = secrets.randbits(48)
        self._runtime, self._lines = runtime, lines
        self._file = -1

    def open(self) -> None:
        """Make the file. It gets its name once it is locked: nobody who looks for the dead may ever find it free."""
        private_directory(self._runtime)
        unnamed = self._path.with_suffix(".new")
        self._file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _held.add(self)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._file, "\n".join(self._lines).encode())
            unnamed.rename(self._path)
        except OSError:
            unnamed.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Remove the file and free the lock, if it is open."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self.abandon()

    def abandon(self) -> None:
        """Free the lock but leave the file, so that others free what is still leased, as after a death.

        After a fork the child does this: its copy of the lock must not outlive the parent.
        """
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            _held.discard(self)

    @property
    def _path(self) -> Path:
        return _path(self._runtime, self.owner)


def find_dead(runtime: Path) -> list[int]:
    """The consumers whose file nobody holds locked."""
    return [int(path.stem, 16) for path in _files(runtime) if not _is_held(path)]


def forget(runtime: Path, owner: int) -> None:
    """Remove the file of a dead consumer, once its leases are freed."""
    _path(runtime, owner).unlink(missing_ok=True)


def count_consumers(runtime: Path) -> dict[str, int]:
    """How many live consumers serve each line given to ``Presence``."""
    counts: dict[str, int] = {}
    for path in _files(runtime):
        if _is_held(path):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                for line in path.read_text().splitlines():
                    counts[line] = counts.get(line, 0) + 1
    return counts


_held: weakref.WeakSet[Presence] = weakref.WeakSet()


def _abandon_all() -> None:
    for presence in list(_held):
        presence.abandon()


os.register_at_fork(after_in_child=_abandon_all)


def _path(runtime: Path, owner: int) -> Path:
    return runtime / f"{owner:012x}{_SUFFIX}"


def _files(runtime: Path) -> list[Path]:
    try:
        return [p for p in runtime.iterdir() if p.suffix == _SUFFIX and len(p.stem) == 12 and _HEX.issuperset(p.stem)]
    except OSError:
        return []


def _is_held(path: Path) -> bool:
    """Whether the owner lives. Holds the lock for a moment: who looks at the same time takes it for alive."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return True  # gone, or not ours to judge
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
