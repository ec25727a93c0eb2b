"""Queues of one process (reply addresses), which go when nobody has consumed from them for their time (rule T28).

No consumer has to prove that it lives: its lock file does. So a queue whose time is up is first looked for
consumers, given its time again, and dropped when that is up and still nobody has come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container

TABLE = """
CREATE TABLE IF NOT EXISTS lapse(
  queue INTEGER PRIMARY KEY, keep REAL NOT NULL, at REAL NOT NULL, alone INTEGER NOT NULL)"""
"""Of such a queue: its seconds, when they are up, and whether nobody was there when they began. A table of its own,
so that a file made without it gets it when it is opened."""

_UP = """
SELECT l.queue, s.name || '/' || q.name, l.alone
FROM lapse l JOIN queue q ON q.id = l.queue JOIN space s ON s.id = q.space
WHERE l.at <= ? AND NOT EXISTS (SELECT 1 FROM msg m WHERE m.queue = l.queue) LIMIT ?"""


def may_go(connection: sqlite3.Connection, queue: int) -> bool:
    """Whether this queue may go."""
    return bool(connection.execute("SELECT 1 FROM lapse WHERE queue = ?", (queue,)).fetchall())


def begin(connection: sqlite3.Connection, queue: int, keep: float, now: float) -> None:
    """A new queue may go ``keep`` seconds after its last message."""
    connection.execute("INSERT OR REPLACE INTO lapse VALUES (?, ?, ?, 1)", (queue, keep, now + keep))


def consumed(connection: sqlite3.Connection, queue: int, keep: float | None, now: float) -> None:
    """Someone consumes from it. A queue that may not go stays so; without ``keep`` it never will."""
    if keep is None:
        connection.execute("DELETE FROM lapse WHERE queue = ?", (queue,))
    else:
        sql = "UPDATE lapse SET keep = ?, at = ?, alone = 0 WHERE queue = ?"
        connection.execute(sql, (keep, now + keep, queue))


def drop(connection: sqlite3.Connection, now: float, limit: int, consumers: Callable[[], Container[str]]) -> None:
    """Drop a few empty queues whose time is up.

    :param consumers: gives "namespace/queue" of those that have one; it is asked only if there is a reason.
    """
    if not (up := connection.execute(_UP, (now, limit)).fetchall()):
        return
    alive = consumers()
    for queue, line, alone in up:
        if alone and line not in alive:
            connection.execute("DELETE FROM queue WHERE id = ?", (queue,))
            connection.execute("DELETE FROM lapse WHERE queue = ?", (queue,))
        else:
            sql = "UPDATE lapse SET at = ? + keep, alone = ? WHERE queue = ?"
            connection.execute(sql, (now, line not in alive, queue))
