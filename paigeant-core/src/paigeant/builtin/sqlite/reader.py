"""The side of the thread that reads, on a connection of its own: never waits for a commit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ...abc.clock import Clock
from ...model.message import QueueStats
from ...model.store import Entry
from .faults import translate
from .schema import open_reader

_LIVE = "(expires IS NULL OR expires > ?)"
_ENTRY = f"SELECT key, value, revision, due FROM kv WHERE space = ? AND {_LIVE} AND "
_STATS = """
SELECT q.name,
  (SELECT count(*) FROM msg m WHERE m.queue = q.id AND m.avail <= :now),
  (SELECT count(*) FROM msg m WHERE m.queue = q.id AND m.avail > :now AND m.owner IS NOT NULL),
  (SELECT count(*) FROM msg m WHERE m.queue = q.id AND m.avail > :now AND m.owner IS NULL)
FROM queue q WHERE q.space = :space"""
_PEEK = """
SELECT mid, headers, body FROM content WHERE id IN (
  SELECT id FROM msg WHERE queue = (SELECT id FROM queue WHERE space = ? AND name = ?) AND avail <= ?
  ORDER BY id LIMIT ?)
ORDER BY id"""

Query: TypeAlias = "str | Callable[[Reader], Any]"
"""A key to get, or a call of one of the other methods."""


class Reader:
    """Owns the connection that reads. Everything here runs in one thread."""

    def __init__(self, path: Path, space: int, clock: Clock) -> None:
        self._path, self._space, self._clock = path, space, clock
        try:
            self._connection = open_reader(path)
        except sqlite3.Error as exc:
            raise translate(exc, path) from exc

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def serve(self, queries: Sequence[Query]) -> list[Any]:
        """Answer all; a query that fails fails alone."""
        try:
            entries = self._get([query for query in queries if isinstance(query, str)])
        except sqlite3.Error as exc:
            raise translate(exc, self._path) from exc
        return [entries.get(query) if isinstance(query, str) else self._answer(query) for query in queries]

    def scan(self, prefix: str, after: str, limit: int) -> list[Entry]:
        """Entries of a prefix, in key order."""
        sql = f"{_ENTRY} key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?"
        # every key is ASCII, so the prefix followed by a later character bounds them all
        values = (self._space, self._clock.time(), prefix, prefix + "\x7f", after, limit)
        return [Entry(*row) for row in self._connection.execute(sql, values)]

    def due(self, before: float, limit: int) -> list[str]:
        """Keys by due time."""
        sql = f"SELECT key FROM kv WHERE space = ? AND due <= ? AND {_LIVE} ORDER BY due LIMIT ?"

        return [key for (key,) in self._connection.execute(sql, (self._space, before, self._clock.time(), limit))]

    def stats(self) -> dict[str, QueueStats]:
        """Ready, in flight and delayed of every queue."""
        rows = self._connection.execute(_STATS, {"now": self._clock.time(), "space": self._space})
        return {name: QueueStats(ready, leased, delayed) for name, ready, leased, delayed in rows}

    def peek(self, queue: str, limit: int) -> list[tuple[str, str, bytes]]:
        """Id, headers and body of ready messages, oldest first."""
        return self._connection.execute(_PEEK, (self._space, queue, self._clock.time(), limit)).fetchall()

    def journal_mode(self) -> str:
        """How changes get into the file: ``wal``, unless another program changed that."""
        ((mode,),) = self._connection.execute("PRAGMA journal_mode").fetchall()
        return str(mode)

    def changes(self, after: int) -> tuple[int, int, list[str]]:
        """The counters of numbers and deletions, and the keys with a revision later than ``after``."""
        self._connection.execute("BEGIN")
        try:
            ((counter, deletions),) = self._connection.execute("SELECT counter, deletions FROM meta").fetchall()
            sql = "SELECT key FROM kv WHERE revision > ? AND space = ?"
            keys = [key for (key,) in self._connection.execute(sql, (after, self._space))]
        finally:
            self._connection.execute("COMMIT")
        return counter, deletions, keys

    def _get(self, keys: list[str]) -> dict[str, Entry]:
        if not keys:
            return {}
        sql = f"{_ENTRY} key IN (SELECT value FROM json_each(?))"
        rows = self._connection.execute(sql, (self._space, self._clock.time(), json.dumps(keys))).fetchall()
        return {row[0]: Entry(*row) for row in rows}

    def _answer(self, query: Callable[[Reader], Any]) -> Any:
        try:
            return query(self)
        except (sqlite3.Error, OverflowError) as exc:
            return translate(exc, self._path)
