"""The side of the thread that writes: one transaction for all that is waiting."""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, assert_never

from ...abc.clock import Clock
from ...errors import BackendCorrupt, ConfigurationError, LeaseLost, OutcomeUnknown
from . import lapses
from .changes import Plan, delete_entries, delete_messages
from .faults import code_of, translate
from .ops import Change, Claim, Claimed, Declare, Disown, Lazy, Lease, News, Op, Purge, Release, Renew
from .presence import count_consumers, runtime_directory
from .schema import PATIENCE, Synchronous, open_writer

_CLAIM = """
UPDATE msg SET avail = :until, owner = :owner, deliveries = deliveries + 1 WHERE id IN (
  SELECT id FROM (
    SELECT id FROM (SELECT m.id FROM json_each(:queues) q CROSS JOIN msg m
      ON m.queue = q.value AND m.avail > 0 AND m.avail <= :now LIMIT :limit)
    UNION ALL
    SELECT id FROM (SELECT m.id FROM json_each(:queues) q CROSS JOIN msg m
      ON m.queue = q.value AND m.avail = 0 LIMIT :limit)
  ) LIMIT :limit)
RETURNING id, queue, deliveries"""
_CONTENT = "SELECT id, mid, headers, body FROM content WHERE id IN (SELECT value FROM json_each(?))"
_NEXT = "SELECT min((SELECT avail FROM msg WHERE queue = q.value ORDER BY queue, avail LIMIT 1)) FROM json_each(?) q"
_RENEW = """
UPDATE msg SET avail = ? + (SELECT lease FROM queue WHERE queue.id = msg.queue)
WHERE id = ? AND owner = ? AND deliveries = ?"""
_RELEASE = """
UPDATE msg SET avail = ?, deliveries = deliveries - ?, owner = NULL
WHERE id = ? AND owner = ? AND deliveries = ? RETURNING queue"""
_DISOWN = """
UPDATE msg SET avail = 0, owner = NULL WHERE id IN (
  SELECT m.id FROM queue q CROSS JOIN msg m ON m.queue = q.id AND m.avail > 0 AND m.owner = ?)
RETURNING queue"""
_BAD_VALUE = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    ValueError,
    TypeError,
    OverflowError,
)
_RETENTION_PERIOD, _RETENTION_ROWS = 1.0, 200

Result: TypeAlias = Any
"""What an operation gives, or the exception that fails it alone."""


class Writer:
    """Owns the connection that writes. Everything here runs in one thread."""

    def __init__(self, path: Path, namespace: str, synchronous: Synchronous, clock: Clock) -> None:
        self._path, self._runtime, self._clock = path, runtime_directory(path), clock
        self._durable: Synchronous = synchronous
        self._mode: Synchronous = synchronous
        self._queues: dict[str, int] = {}
        self._next_retention = 0.0
        try:
            self._connection = open_writer(path, synchronous)
            self._inode = path.stat().st_ino
            self.space = self._find_space(namespace)
        except (sqlite3.Error, OSError) as exc:
            raise translate(exc, path) from exc

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _find_space(self, namespace: str) -> int:
        """The number of the namespace, stored if it is new."""
        try:
            self._patiently("BEGIN IMMEDIATE")
            self._connection.execute("INSERT OR IGNORE INTO space(name) VALUES (?)", (namespace,))
            sql = "SELECT id FROM space WHERE name = ?"
            ((number,),) = self._connection.execute(sql, (namespace,)).fetchall()
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.close()
            raise
        return int(number)

    def commit(self, ops: Sequence[Op]) -> tuple[list[Result], News]:
        """Perform ``ops`` in one transaction, as if one after another."""
        try:
            if all(isinstance(op, Claim) for op in ops) and (idle := self._look(ops)) is not None:
                return idle, News()
            return self._transact(ops)
        except _BAD_VALUE as exc:
            if len(ops) == 1:
                raise translate(exc, self._path) from exc
            return self._one_by_one(ops)
        except (sqlite3.Error, OSError) as exc:
            raise translate(exc, self._path) from exc

    def _one_by_one(self, ops: Sequence[Op]) -> tuple[list[Result], News]:
        """A value that SQLite refuses fails its own operation only. The batch was undone: nothing is repeated."""
        results: list[Result] = []
        news = News()
        for op in ops:
            try:
                (result,), more = self.commit([op])
            except Exception as exc:
                results.append(exc)
            else:
                results.append(result)
                news.queues |= more.queues
                news.entries |= more.entries
        return results, news

    def _look(self, ops: Sequence[Op]) -> list[Result] | None:
        """Empty results if nothing is ready: an idle look must not take the write lock."""
        self._check_file()
        now = self._clock.time()
        results: list[Result] = []
        for op in ops:
            assert isinstance(op, Claim)
            results.append(Claimed([], self._next(op)))
        return None if any(r.next is not None and r.next <= now for r in results) else results

    def _next(self, op: Claim) -> float | None:
        (avail,) = self._patiently(_NEXT, (op.queues,)).fetchone()
        return None if avail is None else float(avail)

    def _transact(self, ops: Sequence[Op]) -> tuple[list[Result], News]:
        self._synchronise(all(isinstance(op, Lazy) for op in ops))
        self._begin()
        try:
            results, news = self._perform(ops)
            self._retain(news)
        except BaseException:
            self._undo()
            raise
        self._end()
        return results, news

    def _begin(self) -> None:
        self._check_file()
        self._patiently("BEGIN IMMEDIATE")

    def _check_file(self) -> None:
        """What others write to a new file of this name would never be seen here."""
        try:
            if self._path.stat().st_ino != self._inode:
                raise FileNotFoundError
        except FileNotFoundError:
            raise BackendCorrupt(
                f"the SQLite file {str(self._path)!r} was deleted or replaced while it was in use; restart this process"
            ) from None

    def _patiently(self, sql: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Wait for the lock in short steps: SQLite's own handler sleeps up to 100 ms between looks."""
        deadline, pause = time.monotonic() + PATIENCE, 0.001
        while True:
            try:
                return self._connection.execute(sql, values)
            except sqlite3.OperationalError as exc:
                if code_of(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.2, 1.0) * pause)
            pause = min(pause * 1.1, 0.01)

    def _synchronise(self, lazy: bool) -> None:
        """Let commits of mere leases skip the fsync; the next durable one includes them."""
        mode: Synchronous = "NORMAL" if lazy else self._durable
        if mode != self._mode:
            self._connection.execute(f"PRAGMA synchronous={mode}")
            self._mode = mode

    def _undo(self) -> None:
        self._queues.clear()  # may name queues whose creation is undone
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _end(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            self._undo()
            if code_of(exc) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
                raise  # nothing of it can come back
            raise OutcomeUnknown(f"the commit to {str(self._path)!r} failed half-way ({exc}); read again") from exc

    def _perform(self, ops: Sequence[Op]) -> tuple[list[Result], News]:
        """Changes first, claims last: a claim may take what was published with it."""
        now, news = self._clock.time(), News()
        results: list[Result] = [None] * len(ops)
        changes = [(i, op) for i, op in enumerate(ops) if isinstance(op, Change)]
        if changes:
            plan = Plan(self._connection, self.space, now, [op for _, op in changes])
            for i, change in changes:
                results[i] = plan.add(change, self._queue)
            news.queues, news.entries = plan.perform()
        for i, op in enumerate(ops):
            if not isinstance(op, (Change, Claim)):
                results[i] = self._other(op, now, news)
        claims = [(i, op) for i, op in enumerate(ops) if isinstance(op, Claim)]
        for i, claim in sorted(claims, key=lambda pair: pair[1].served):
            results[i] = self._claim(claim, now)
        return results, news

    def _other(self, op: Renew | Release | Disown | Declare | Purge, now: float, news: News) -> Result:
        match op:
            case Renew():
                return {lease for lease in op.leases if self._renew(lease, now)}
            case Release():
                return self._release(op, now, news)
            case Disown():
                rows = self._connection.execute(_DISOWN, (op.owner,)).fetchall()
                news.queues.update(queue for (queue,) in rows)
                return len(rows)
            case Declare():
                return self._declare(op, now)
            case Purge():
                where = "queue = (SELECT id FROM queue WHERE space = ? AND name = ?) AND avail <= ?"
                return self._purge(where, (self.space, op.queue, now))
        assert_never(op)

    def _claim(self, op: Claim, now: float) -> Claimed:
        if op.abandoned:
            return Claimed([])
        values = {"until": now + op.lease, "owner": op.owner, "queues": op.queues, "now": now, "limit": op.limit}
        taken = self._connection.execute(_CLAIM, values).fetchall()
        if not taken:
            return Claimed([], self._next(op))
        text = json.dumps([row[0] for row in taken])
        contents = {row[0]: row[1:] for row in self._connection.execute(_CONTENT, (text,)).fetchall()}
        # a row whose content someone removed is delivered empty, to be refused in sight, not to block its queue
        return Claimed([(*row, *contents.get(row[0], ("", "", b""))) for row in taken])

    def _renew(self, lease: Lease, now: float) -> bool:
        return self._connection.execute(_RENEW, (now, *lease)).rowcount == 1

    def _release(self, op: Release, now: float, news: News) -> Result:
        avail = now + op.delay if op.delay else 0.0
        rows = self._connection.execute(_RELEASE, (avail, not op.received, *op.lease)).fetchall()
        news.queues.update(queue for (queue,) in rows)
        return None if rows else LeaseLost(f"the lease {op.lease.token!r} ended: the message belongs to someone else")

    def _declare(self, op: Declare, now: float) -> Result:
        sql = (
            "SELECT name, lease FROM queue WHERE space = ? AND name IN (SELECT value FROM json_each(?)) AND lease <> ?"
        )
        for name, lease in self._connection.execute(sql, (self.space, json.dumps(op.queues), op.lease)).fetchall():
            return ConfigurationError(
                f"queue {name!r} has a lease of {lease:g} s, not {op.lease:g} s: all its workers must use the same; "
                f"set --lease {lease:g}s or PAIGEANT_LEASE={lease:g}, or, while no worker runs, forget it with: "
                f"sqlite3 {shlex.quote(str(self._path))} \"UPDATE queue SET lease = NULL WHERE name = '{name}'\""
            )
        numbers = {name: self._queue(name, op.keep) for name in op.queues}
        self._connection.executemany(
            "UPDATE queue SET lease = ? WHERE id = ?", [(op.lease, number) for number in numbers.values()]
        )
        for number in numbers.values():
            lapses.consumed(self._connection, number, op.keep, now)
        return numbers

    def _purge(self, where: str, values: tuple[Any, ...]) -> int:
        numbers = [number for (number,) in self._connection.execute(f"SELECT id FROM msg WHERE {where}", values)]
        delete_messages(self._connection, numbers)
        return len(numbers)

    def _queue(self, name: str, keep: float | None = None) -> int:
        """Its number; a new queue may go after ``keep`` seconds. Of one that may, no number is remembered."""
        number = self._queues.get(name)
        if number is None:
            sql = "INSERT OR IGNORE INTO queue(space, name) VALUES (?, ?)"
            new = self._connection.execute(sql, (self.space, name)).rowcount > 0
            sql = "SELECT id FROM queue WHERE space = ? AND name = ?"
            ((number,),) = self._connection.execute(sql, (self.space, name)).fetchall()
            if new and keep is not None:
                lapses.begin(self._connection, number, keep, self._clock.time())
            elif not lapses.may_go(self._connection, number):
                self._queues[name] = number
        return number

    def _retain(self, news: News) -> None:
        """Delete a few expired rows now and then, in the transaction of whoever writes."""
        if time.monotonic() < self._next_retention:
            return
        now = self._clock.time()
        where = "revision IN (SELECT revision FROM kv WHERE expires <= ? LIMIT ?)"
        entries = delete_entries(self._connection, where, (now, _RETENTION_ROWS))
        messages = self._purge("expires <= ? AND avail <= ? LIMIT ?", (now, now, _RETENTION_ROWS))
        lapses.drop(self._connection, now, _RETENTION_ROWS, lambda: count_consumers(self._runtime))
        news.entries |= entries > 0
        if max(entries, messages) < _RETENTION_ROWS:
            self._next_retention = time.monotonic() + _RETENTION_PERIOD
