"""Group commit of changes: judged one by one in memory, then performed together in few statements.

No savepoints: a change that fails is refused before anything of it is written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from ...errors import BackendError, LeaseLost, RevisionConflict
from ...model.store import ABSENT, ANY, KEEP, Expected, Keep, Write
from .ops import Change, Delete

_CHUNKS = (32, 8, 1)
"""Rows per INSERT: few texts for the statement cache, few steps for a large batch."""

_OWNED = "SELECT id, owner, deliveries FROM msg WHERE id IN (SELECT value FROM json_each(?)) AND owner IS NOT NULL"
_REVISIONS = (
    "SELECT key, revision FROM kv WHERE space = ? AND key IN (SELECT value FROM json_each(?))"
    " AND (expires IS NULL OR expires > ?)"
)

_MSG = "msg(id, queue, avail, deliveries, expires)"
_CONTENT = "content(id, mid, headers, body)"
_KV = "kv(revision, space, key, due, expires, value)"

_Entry: TypeAlias = tuple[int, bytes | Keep, float | None, float | None]
"""Revision, value, due, expires."""


class Plan:
    """The sum of a batch of changes. ``add`` them, then ``perform``."""

    def __init__(self, connection: sqlite3.Connection, space: int, now: float, changes: Sequence[Change]) -> None:
        self._connection, self._space, self._now = connection, space, now
        self._owned = self._find_owned([c.lease.id for c in changes if c.lease is not None])
        self._revisions = self._find_revisions({w.key for c in changes for w in c.writes})
        self._counter = self._take_numbers(sum(len(c.writes) + len(c.messages) for c in changes))
        self._settled: list[int] = []
        self._messages: list[tuple[Any, ...]] = []
        self._contents: list[tuple[Any, ...]] = []
        self._entries: dict[str, _Entry | None] = {}

    def add(self, change: Change, queue_number: Callable[[str, float | None], int]) -> list[int] | BackendError:
        """Accept a change and give the revisions of its writes, or say why not."""
        if change.lease is not None and change.lease not in self._owned:
            return LeaseLost(f"lease {change.lease.token!r} ended: the message is settled or belongs to someone else")
        for write in change.writes:
            found = self._revisions.get(write.key)
            if not _meets(write, found):
                return RevisionConflict(write.key, expected=write.expected, found=found)
        if change.lease is not None:
            self._owned.discard(change.lease)
            self._settled.append(change.lease.id)
        for queue, delay, ttl, *rest in change.messages:
            avail = self._now + delay if delay else 0.0
            expires = None if ttl is None else self._now + delay + ttl
            number = self._number()
            self._messages.append((number, queue_number(queue, ttl), avail, 0, expires))
            self._contents.append((number, *rest))
        return [self._write(write) for write in change.writes]

    def perform(self) -> tuple[set[int], bool]:
        """Write it all; give the numbers of the queues that got messages, and whether entries changed."""
        if self._settled:
            delete_messages(self._connection, self._settled)
        _insert(self._connection, f"INSERT INTO {_MSG}", self._messages)
        _insert(self._connection, f"INSERT INTO {_CONTENT}", self._contents)
        self._perform_entries()
        return {message[1] for message in self._messages}, bool(self._entries)

    def _find_owned(self, ids: list[int]) -> set[tuple[int, int, int]]:
        return set(self._connection.execute(_OWNED, (json.dumps(ids),)).fetchall()) if ids else set()

    def _find_revisions(self, keys: set[str]) -> dict[str, int]:
        if not keys:
            return {}
        return dict(self._connection.execute(_REVISIONS, (self._space, json.dumps(list(keys)), self._now)).fetchall())

    def _take_numbers(self, count: int) -> int:
        if not count:
            return 0
        sql = "UPDATE meta SET counter = counter + ? RETURNING counter"
        ((last,),) = self._connection.execute(sql, (count,)).fetchall()
        return int(last) - count

    def _number(self) -> int:
        self._counter += 1
        return self._counter

    def _write(self, write: Write | Delete) -> int:
        if isinstance(write, Delete):
            if self._revisions.pop(write.key, None) is not None:
                self._entries[write.key] = None
            return 0
        revision = self._number()
        value = write.value
        if value is KEEP and (pending := self._entries.get(write.key)):
            value = pending[1]
        expires = None if write.ttl is None else self._now + write.ttl
        self._revisions[write.key] = revision
        self._entries[write.key] = (revision, value, write.due, expires)
        return revision

    def _perform_entries(self) -> None:
        values: list[tuple[Any, ...]] = []
        kept: list[tuple[Any, ...]] = []
        gone: list[str] = []
        for key, entry in self._entries.items():
            if entry is None:
                gone.append(key)
            elif entry[1] is KEEP:
                kept.append((entry[0], entry[2], entry[3], self._space, key))
            else:
                values.append((entry[0], self._space, key, entry[2], entry[3], entry[1]))
        if gone:
            delete_entries(
                self._connection,
                "space = ? AND key IN (SELECT value FROM json_each(?))",
                (self._space, json.dumps(gone)),
            )
        if kept:
            sql = "UPDATE kv SET revision = ?, due = ?, expires = ? WHERE space = ? AND key = ?"
            self._connection.executemany(sql, kept)
        _insert(self._connection, f"INSERT OR REPLACE INTO {_KV}", values)


def delete_messages(connection: sqlite3.Connection, numbers: list[int]) -> None:
    """Delete both rows of messages."""
    text = json.dumps(numbers)
    for table in ("msg", "content"):
        connection.execute(f"DELETE FROM {table} WHERE id IN (SELECT value FROM json_each(?))", (text,))


def delete_entries(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> int:
    """Delete entries and count the act, for watchers who look for new revisions and would not see it."""
    deleted = connection.execute(f"DELETE FROM kv WHERE {where}", values).rowcount
    if deleted:
        connection.execute("UPDATE meta SET deletions = deletions + 1")
    return deleted


def _meets(write: Write | Delete, found: int | None) -> bool:
    expected: Expected = write.expected
    if isinstance(write, Write) and write.value is KEEP and found is None:
        return False
    if expected is ANY:
        return True
    return found is None if expected is ABSENT else found == expected


def _insert(connection: sqlite3.Connection, head: str, rows: Sequence[tuple[Any, ...]]) -> None:
    start = 0
    for size in _CHUNKS:
        while len(rows) - start >= size:
            chunk = rows[start : start + size]
            marks = "(" + ",".join("?" * len(chunk[0])) + ")"
            connection.execute(f"{head} VALUES {','.join([marks] * size)}", _flat(chunk))
            start += size


def _flat(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]
