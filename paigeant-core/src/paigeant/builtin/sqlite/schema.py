"""The file: its tables, its marks, and how a connection to it is opened."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Literal, TypeAlias

from ...errors import BackendCorrupt, ConfigurationError
from . import lapses

_log = logging.getLogger("paigeant.sqlite")
APPLICATION_ID = 0x50414947  # "PAIG"
VERSION = 1
Synchronous: TypeAlias = Literal["FULL", "NORMAL"]
"""``FULL`` survives loss of power, ``NORMAL`` the death of every process."""
PATIENCE = 5.0
"""Seconds to wait for a lock that another process holds."""

# A message is two rows: a small one that every claim rewrites, and its content, written once.
# One counter numbers messages and revisions: both must rise and never come back, not even after a delete.
# msg.avail: 0 is ready, else the time of readiness: the end of a delay, or of a lease. So an expired lease needs
# no sweeper, and a clock that jumps back never hides a ready message. (id, owner, deliveries) fences a lease.
_TABLES = """
CREATE TABLE meta(one INTEGER PRIMARY KEY CHECK (one = 1), counter INTEGER NOT NULL, deletions INTEGER NOT NULL);
INSERT INTO meta VALUES (1, 0, 0);
CREATE TABLE space(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE queue(
  id INTEGER PRIMARY KEY, space INTEGER NOT NULL, name TEXT NOT NULL, lease REAL, UNIQUE (space, name));
CREATE TABLE msg(
  id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, avail REAL NOT NULL, owner INTEGER, deliveries INTEGER NOT NULL,
  expires REAL);
CREATE TABLE content(id INTEGER PRIMARY KEY, mid TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX msg_avail ON msg(queue, avail, owner);
CREATE INDEX msg_expires ON msg(expires) WHERE expires IS NOT NULL;
CREATE TABLE kv(
  revision INTEGER PRIMARY KEY, space INTEGER NOT NULL, key TEXT NOT NULL, due REAL, expires REAL, value BLOB NOT NULL,
  UNIQUE (space, key));
CREATE INDEX kv_due ON kv(space, due) WHERE due IS NOT NULL;
CREATE INDEX kv_expires ON kv(expires) WHERE expires IS NOT NULL
"""


def prepare_file(path: Path) -> None:
    """Make the directory (0700) and the file (0600) of a database that does not exist yet.

    :raises ConfigurationError: the path cannot be a database.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        raise ConfigurationError(
            f"cannot use {str(path)!r} as the SQLite file: {exc.strerror}; set PAIGEANT_SQLITE_PATH to a file "
            "in a directory that this user may write"
        ) from exc


def open_writer(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the connection that writes; create the tables in a new file.

    Its statements do not wait for locks: the caller retries, faster and fairer than SQLite's own handler.

    :raises BackendCorrupt: the file is not ours, or of a newer version.
    """
    if sqlite3.sqlite_version_info < (3, 35):
        raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
    _log.debug("SQLite %s opens %s", sqlite3.sqlite_version, path)
    connection = _connect(path)
    try:
        connection.execute("BEGIN")  # one snapshot: another process may be creating the tables
        ours = _recognise(connection, path)
        connection.execute("COMMIT")
        if not ours:
            _create(connection, path)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA secure_delete=FAST")
        connection.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone leaves data in the disk's cache
        connection.execute("BEGIN IMMEDIATE").execute(
            "ROLLBACK"
        )  # a read-only file shows here, not at the first publish
        connection.execute(lapses.TABLE)
        connection.execute("PRAGMA busy_timeout=0")
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads; the writer has been opened before."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, cached_statements=256, check_same_thread=False)


def _recognise(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has our tables; a foreign file is refused before anything in it is changed."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (mark, version, tables) == (0, 0, 0):
        return False
    if mark != APPLICATION_ID:
        raise BackendCorrupt(
            f"{str(path)!r} is a database of another program (application id {mark:#x}); "
            "set PAIGEANT_SQLITE_PATH to another file"
        )
    if version != VERSION:
        raise BackendCorrupt(
            f"{str(path)!r} has format {version}, and this release reads format {VERSION}; "
            "use the release that wrote it, or set PAIGEANT_SQLITE_PATH to another file"
        )
    return True


def _create(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA page_size=8192")
    _use_wal(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _recognise(connection, path):  # another process may have been faster
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait here for another process that does the same, so we do."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
