"""Errors of ``sqlite3`` and of the file system, as errors of Paigeant."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import BackendCorrupt, BackendError, BackendUnavailable, MessageTooLarge, PaigeantError

_FULL = "cannot grow: the disk is full; free some space, what was not acknowledged can be repeated"
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "is locked by another process; end the program that holds a transaction on it open",
    sqlite3.SQLITE_LOCKED: "is locked by another connection; end the program that holds a transaction on it open",
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    sqlite3.SQLITE_READONLY: "is read-only; make the file and its directory writable for this user",
    sqlite3.SQLITE_PERM: "may not be accessed; make the file and its directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its directory exists and is writable for this user",
    sqlite3.SQLITE_IOERR: "met an I/O error; check the disk (network file systems are not supported)",
    sqlite3.SQLITE_NOMEM: "could not be used: out of memory",
}
_CORRUPT = {
    sqlite3.SQLITE_NOTADB: "is not a SQLite database; set PAIGEANT_SQLITE_PATH to another file",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a copy, or recover it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_ERROR: "lacks the expected tables; set PAIGEANT_SQLITE_PATH to another file",
}


def code_of(exc: BaseException) -> int:
    """The primary result code of SQLite, 0 if there is none."""
    return _exact_code_of(exc) & 0xFF


def _exact_code_of(exc: BaseException) -> int:
    code = getattr(exc, "sqlite_errorcode", None)
    return code if isinstance(code, int) else 0


def translate(exc: Exception, path: Path) -> PaigeantError:
    """The error of ours that says what happened to ``path``, with ``exc`` as its cause."""
    if isinstance(exc, PaigeantError):
        return exc
    error = _translate(exc, path)
    error.__cause__ = exc
    return error


def _translate(exc: Exception, path: Path) -> PaigeantError:
    code = code_of(exc)
    if reason := _UNAVAILABLE.get(_exact_code_of(exc)) or _UNAVAILABLE.get(code):
        return BackendUnavailable(f"the SQLite file {str(path)!r} {reason} ({exc})")
    if code in _CORRUPT:
        return BackendCorrupt(f"{str(path)!r} {_CORRUPT[code]} ({exc})")
    if code == sqlite3.SQLITE_TOOBIG:
        return MessageTooLarge(f"a message or value is larger than SQLite can store ({exc})")
    if isinstance(exc, OSError):
        return BackendUnavailable(f"{str(exc.filename or path)!r}: {exc.strerror}")
    return BackendError(f"SQLite refused the data: {exc}")
