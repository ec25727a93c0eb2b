"""What an operator should know of the file, its file system and this SQLite: nothing here changes anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ...model.finding import Finding, Severity
from .schema import Synchronous
from .session import Session

MOUNTS: Final = Path("/proc/self/mountinfo")
"""Where Linux tells which file system holds what."""

_FIXED = (3, 51, 3)
"""First release of SQLite in which resetting the write-ahead log cannot damage the file."""
_NETWORK = frozenset({"9p", "afs", "ceph", "cifs", "davfs", "gfs2", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3"})
_NETWORK_FUSE = ("sshfs", "glusterfs", "s3fs", "rclone", "ceph", "gcsfuse", "juicefs", "mfs")
_MIB = 1024 * 1024
_ROOM_TO_WARN, _ROOM_TO_STOP = 512 * _MIB, 64 * _MIB
_LONG_LOG = 256 * _MIB

_ALONE = Finding(
    Severity.NOTE,
    "reach",
    "a store in a file serves one machine: dispatchers and workers on another one would each have their own",
    "for several machines set PAIGEANT_STATE_STORE to a store that they all reach, such as redis or nats",
)


async def diagnose(session: Session, synchronous: Synchronous, *, alone: bool = False) -> list[Finding]:
    """All findings about the file of a connected session.

    :param alone: it is a store beside the transport of another backend.
    :raises BackendError: the file is gone, or its file system answers nothing.
    """
    mode = await session.read(lambda reader: reader.journal_mode())
    found = await session.call(lambda: [*_engine(mode, synchronous), *_place(session.path)])
    return [*found, _ALONE] if alone else found


def _engine(mode: str, synchronous: Synchronous) -> Iterator[Finding]:
    yield check_version(sqlite3.sqlite_version_info)
    yield check_journal(mode)
    yield check_synchronous(synchronous)


def _place(path: Path) -> Iterator[Finding]:
    yield check_file_system(path, read_mounts())
    yield check_room(path, shutil.disk_usage(path.parent).free)
    yield from check_access(path)
    yield from check_log(path)


def check_version(version: tuple[int, ...]) -> Finding:
    """The SQLite that this Python is linked with."""
    text = ".".join(map(str, version))
    if version >= _FIXED:
        return Finding(Severity.OK, "version", f"SQLite {text}")
    return Finding(
        Severity.WARNING,
        "version",
        f"SQLite {text} has a rare fault: if two processes write and reset the write-ahead log at the same moment, "
        "the file may be damaged",
        "use a Python that is linked with SQLite 3.51.3 or newer, and keep copies of the file",
    )


def check_journal(mode: str) -> Finding:
    """The journal mode, which is a property of the file."""
    if mode == "wal":
        return Finding(Severity.OK, "journal mode", "write-ahead log: readers and writers do not wait for each other")
    return Finding(
        Severity.WARNING,
        "journal mode",
        f"another program set journal mode {mode!r}: whoever reads makes writers wait, and they may time out",
        "stop all processes, then run: sqlite3 FILE 'PRAGMA journal_mode=WAL'",
    )


def check_synchronous(synchronous: Synchronous) -> Finding:
    """What a commit waits for."""
    if synchronous == "FULL":
        return Finding(Severity.OK, "synchronous", "FULL: what was awaited is on disk and survives loss of power")
    return Finding(
        Severity.WARNING,
        "synchronous",
        f"{synchronous}: the last commits may be gone after loss of power; the death of processes loses nothing",
        "unset PAIGEANT_SQLITE_SYNCHRONOUS for FULL",
    )


def read_mounts() -> dict[str, str]:
    """File system types by mount point; empty where the system does not tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if separator and len(fields) > 4 and kind:
            found[_unescape(fields[4])] = kind[0]  # a later line is mounted over an earlier one
    return found


def _unescape(text: str) -> str:
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def check_file_system(path: Path, mounts: dict[str, str]) -> Finding:
    """Whether the file is on a disk of this machine: processes share memory beside a write-ahead log."""
    places = [str(place) for place in path.parents if str(place) in mounts]
    if not places:
        return Finding(
            Severity.NOTE,
            "file system",
            f"{sys.platform} does not tell here what holds {str(path)!r}; it must be a disk of this machine",
        )
    kind = mounts[places[0]]
    if not _is_network(kind):
        return Finding(Severity.OK, "file system", f"{kind}, on this machine")
    return Finding(
        Severity.PROBLEM,
        "file system",
        f"{str(path)!r} is on {kind}, a file system of a network or of another system: two machines would damage it",
        "set PAIGEANT_SQLITE_PATH to a file on a disk of this machine; for several machines use a broker",
    )


def _is_network(kind: str) -> bool:
    return kind in _NETWORK or (kind.startswith("fuse") and any(name in kind for name in _NETWORK_FUSE))


def check_room(path: Path, free: int) -> Finding:
    """Free space, in bytes."""
    if free >= _ROOM_TO_WARN:
        return Finding(Severity.OK, "disk space", f"{free // _MIB} MiB free")
    severity = Severity.WARNING if free >= _ROOM_TO_STOP else Severity.PROBLEM
    return Finding(
        severity,
        "disk space",
        f"{free // _MIB} MiB free where {str(path)!r} is; on a full disk nothing is accepted, and workers wait",
        "free some space, or move the file to a larger disk (PAIGEANT_SQLITE_PATH)",
    )


def check_access(path: Path) -> Iterator[Finding]:
    """Who may read and write the file, and replace it through its directory."""
    shared = [f"chmod go-rwx {place!r}" for place in _open_to_others(path)]
    if shared:
        yield Finding(
            Severity.WARNING,
            "permissions",
            "other users of this machine may read or change the data, which holds the values of workflows",
            "; ".join(shared),
        )
    else:
        yield Finding(Severity.OK, "permissions", f"{str(path)!r} is open to its owner only")
    if (owner := path.stat().st_uid) != os.geteuid():
        yield Finding(
            Severity.NOTE, "owner", f"the file belongs to user {owner}, and this process runs as user {os.geteuid()}"
        )


def _open_to_others(path: Path) -> Iterable[str]:
    """The file if others may touch it, else the directory if others may put another file in its place."""
    if path.stat().st_mode & 0o077:
        yield str(path)
    mode = path.parent.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield str(path.parent)


def check_log(path: Path) -> Iterator[Finding]:
    """A write-ahead log that does not shrink: something reads without end."""
    log = path.with_name(path.name + "-wal")
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size > _LONG_LOG:
        yield Finding(
            Severity.WARNING,
            "write-ahead log",
            f"{str(log)!r} has {size // _MIB} MiB: some program keeps a transaction on the file open",
            "find it (lsof, fuser) and end its transaction",
        )
