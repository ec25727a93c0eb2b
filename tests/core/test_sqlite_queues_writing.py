"""How the SQLite queues write: one transaction for many, no table scanned, no fsync for a lease."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest

from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import LeaseLost, RevisionConflict
from paigeant.model.store import ABSENT, KEEP, Write
from paigeant.testing.clock import VirtualClock

from .sqlite_kit import publication


async def test_concurrent_operations_share_transactions(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        watcher = sqlite3.connect(transport.path)
        await asyncio.gather(*(transport.publish(publication(str(n))) for n in range(300)))
        before = watcher.execute("PRAGMA data_version").fetchone()
        side = transport._database.session()
        commits = 0
        inner = side._writer._transact  # type: ignore[union-attr]

        def counting(ops: object) -> object:
            nonlocal commits
            commits += 1
            return inner(ops)  # type: ignore[arg-type]

        side._writer._transact = counting  # type: ignore[union-attr, method-assign, assignment]
        await asyncio.gather(*(transport.publish(publication(str(n))) for n in range(256)))
        assert commits == 1
        assert watcher.execute("PRAGMA data_version").fetchone() != before
        watcher.close()
        assert (await transport.queues("q"))["q"].ready == 556


async def test_in_one_transaction_each_fails_for_itself(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        store = transport.state_store()
        await store.put("k", b"0")
        await transport.publish(*(publication(f"m{n}") for n in range(4)))
        async with transport.consume(["q"], lease=30) as consumer:
            lost, conflict, good, twin = await consumer.receive(4)
            await lost.release()
            results = await asyncio.gather(
                lost.settle(publication("from-lost", "out"), writes=[Write("lost", b"1")]),
                conflict.settle(
                    publication("from-conflict", "out"), writes=[Write("a", b"1"), Write("k", b"1", ABSENT)]
                ),
                good.settle(publication("from-good", "out"), writes=[Write("once", b"good", ABSENT)]),
                twin.settle(publication("from-twin", "out"), writes=[Write("once", b"twin", ABSENT)]),
                return_exceptions=True,
            )
            kinds = [type(result) for result in results]
            assert kinds == [LeaseLost, RevisionConflict, type(None), RevisionConflict]
            assert [m.id for m in await transport.peek("out")] == ["from-good"]
            assert await store.get("lost") is None and await store.get("a") is None
            entry = await store.get("once")
            assert entry is not None and entry.value == b"good"
            await asyncio.gather(conflict.settle(), twin.settle())  # still owned


async def test_settled_twice_in_one_batch_takes_effect_once(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        await transport.publish(publication())
        async with transport.consume(["q"], lease=30) as consumer:
            (delivery,) = await consumer.receive(1)
            results = await asyncio.gather(
                *(delivery.settle(publication("next", "out")) for _ in range(3)), return_exceptions=True
            )
            assert sorted(type(r).__name__ for r in results) == ["LeaseLost", "LeaseLost", "NoneType"]
            assert len(await transport.peek("out")) == 1


async def test_expired_rows_are_deleted_in_passing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paigeant.builtin.sqlite.writer._RETENTION_PERIOD", 0.0)
    monkeypatch.setattr("paigeant.builtin.sqlite.writer._RETENTION_ROWS", 10)
    clock = VirtualClock()
    async with SqliteTransport(tmp_path / "q.db", clock=clock) as transport:
        store = transport.state_store()
        await asyncio.gather(*(store.put(f"k/{n}", b"x", ttl=5) for n in range(25)), store.put("kept", b"x"))
        await transport.publish(*(publication(str(n), ttl=5) for n in range(25)), publication("kept"))
        look = sqlite3.connect(transport.path)

        def rows() -> tuple[int, ...]:
            return tuple(look.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("kv", "msg", "content"))

        assert rows() == (26, 26, 26)
        await clock.advance(6)
        assert await store.get("k/1") is None
        seen = [rows()]
        for _ in range(3):
            await store.put("tick", b"x")
            seen.append(rows())
        assert seen == [(26, 26, 26), (17, 16, 16), (7, 6, 6), (2, 1, 1)]
        look.close()
        assert [m.id for m in await transport.peek("q")] == ["kept"]


async def test_only_leases_skip_the_fsync(tmp_path: Path) -> None:
    """``synchronous`` of the writing connection, as each kind of operation left it: 2 is FULL, 1 is NORMAL."""
    async with SqliteTransport(tmp_path / "q.db") as transport:
        side = transport._database.session()._writer
        assert side is not None

        def level() -> int:
            return int(side._connection.execute("PRAGMA synchronous").fetchone()[0])

        levels = []
        async with transport.consume(["q"], lease=30) as consumer:
            await transport.publish(publication())
            levels.append(level())
            (delivery,) = await consumer.receive(1)
            levels.append(level())
            await transport.state_store().put("k", b"")
            levels.append(level())
            await transport.renew([delivery.lease_token])
            levels.append(level())
            await asyncio.gather(delivery.settle(), transport.renew(["1.1.1"]))
            levels.append(level())
        assert levels == [2, 1, 2, 1, 2]


async def test_no_statement_scans_a_table(tmp_path: Path) -> None:
    """Whatever a full life of a message and an entry executes finds its rows through an index."""
    clock = VirtualClock()
    statements: set[str] = set()
    async with SqliteTransport(tmp_path / "q.db", clock=clock) as transport:
        side = transport._database.session()
        for half in (side._writer, side._reader):
            assert half is not None
            half._connection.set_trace_callback(statements.add)
        store = transport.state_store()
        await transport.publish(
            publication("a", ttl=1.0), publication("b"), writes=[Write("k", b"x", ttl=1.0, due=1.0)]
        )
        async with transport.consume(["q", "r"], lease=30) as consumer:
            first, second = await consumer.receive(2)
            await transport.renew([first.lease_token])
            await asyncio.gather(first.release(1.0), second.settle(writes=[Write("k", KEEP), Write("j", b"")]))
        await asyncio.gather(store.get("k"), store.scan("k"), store.due(1.0), store.delete("j"))
        await asyncio.gather(transport.queues(), transport.peek("q"), side.changes(0))
        await transport.purge("q")
        plans = [
            (sql, row[3])
            for sql in statements
            if sql.split()[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"}
            for row in side._reader._connection.execute("EXPLAIN QUERY PLAN " + sql)  # type: ignore[union-attr]
        ]
    scans = [(sql, plan) for sql, plan in plans if re.match(r"SCAN (m|msg|kv|content)\b", plan) and "INDEX" not in plan]
    assert len(statements) > 20
    assert scans == []
