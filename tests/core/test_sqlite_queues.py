"""What the SQLite queues do beyond the conformance kit: sharing a file, waking others, one transaction for many."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from paigeant.abc.transport import Consumer
from paigeant.builtin.sqlite import doorbell, session
from paigeant.builtin.sqlite.ops import Claim, Op
from paigeant.builtin.sqlite.presence import Presence
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import BackendClosed, ConfigurationError, LeaseLost, RevisionConflict
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import ABSENT, KEEP, Write
from paigeant.testing.clock import VirtualClock


def publication(text: str = "m", queue: str = "q", **more: float) -> Publication:
    return Publication(queue, Message(text, text.encode(), {"name": text}), **more)


async def one(consumer: Consumer) -> object:
    (delivery,) = await consumer.receive(1)
    return delivery


async def test_namespaces_in_one_file_do_not_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    async with SqliteTransport(path, namespace="red") as red, SqliteTransport(path, namespace="blue") as blue:
        await red.publish(publication("red"), writes=[Write("k", b"red", due=1.0)])
        await blue.publish(publication("blue"), writes=[Write("k", b"blue", expected=ABSENT)])
        assert [m.id for m in await red.peek("q")] == ["red"]
        entry = await blue.state_store().get("k")
        assert entry is not None and entry.value == b"blue"
        assert await blue.state_store().due(5.0) == []
        assert await red.state_store().due(5.0) == ["k"]
        await blue.state_store().delete("k")
        assert await red.state_store().get("k") is not None
        async with red.consume(["q"], lease=5), blue.consume(["q"], lease=7) as consumer:
            (delivery,) = await consumer.receive(10)
            assert delivery.message.id == "blue"
            assert (await red.queues())["q"] == QueueStats(1, 0, 0, 1)
        assert await blue.purge("q") == 1
        assert (await red.queues("q"))["q"].ready == 1


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


async def test_numbers_are_not_reused_so_no_old_lease_fits_a_new_message(tmp_path: Path) -> None:
    """Without a counter of our own, SQLite would give the number of a deleted last row again."""
    async with SqliteTransport(tmp_path / "q.db") as transport, transport.consume(["q"], lease=30) as consumer:
        await transport.publish(publication("old"))
        (old,) = await consumer.receive(1)
        await old.settle()
        await transport.publish(publication("new"))
        (new,) = await consumer.receive(1)
        assert new.deliveries == old.deliveries == 1
        assert new.lease_token != old.lease_token
        with pytest.raises(LeaseLost):
            await old.settle()
        await new.settle()


async def test_due_and_expired_messages_come_before_a_long_backlog(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with SqliteTransport(tmp_path / "q.db", clock=clock) as transport:
        await transport.publish(publication("delayed", delay=5))
        await transport.publish(*(publication(f"ready{n}") for n in range(50)))
        async with transport.consume(["q"], lease=30) as consumer:
            assert (await consumer.receive(1))[0].message.id == "ready0"
            await clock.advance(5)
            assert (await consumer.receive(1))[0].message.id == "delayed"
            await clock.advance(26)
            assert (await consumer.receive(1))[0].message.id == "ready0"


async def test_a_clock_that_jumps_back_hides_no_ready_message(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with SqliteTransport(tmp_path / "q.db", clock=clock) as transport:
        await transport.publish(publication("before"))
        earlier = VirtualClock(start=clock.time() - 86_400)
        async with SqliteTransport(tmp_path / "q.db", clock=earlier) as behind:
            async with behind.consume(["q"], lease=30) as consumer, asyncio.timeout(5):
                (delivery,) = await consumer.receive(1)
                await delivery.release()
                (delivery,) = await consumer.receive(1)
                await delivery.settle(publication("after", "out"))
            assert len(await transport.peek("out")) == 1


async def test_queues_take_turns(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        await transport.publish(*(publication(f"{q}{n}", q) for q in ("a", "b", "c") for n in range(10)))
        async with transport.consume(["a", "b", "c"], lease=30) as consumer:
            first = [(await consumer.receive(1))[0].queue for _ in range(6)]
            assert first == ["a", "b", "c", "a", "b", "c"]
            assert len(await consumer.receive(100)) == 24


async def test_another_lease_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        async with transport.consume(["b"], lease=10):
            pass
        with pytest.raises(ConfigurationError, match=r"'b' has a lease of 10 s, not 20 s"):
            async with transport.consume(["a", "b"], lease=20):
                pass
        async with transport.consume(["a"], lease=5):
            pass
        for queues, lease in (([], 5.0), (["a"], 0.0), (["a"], float("nan"))):
            with pytest.raises(ConfigurationError):
                async with transport.consume(queues, lease=lease):
                    pass


async def test_consumers_are_counted_over_instances(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as first, first.clone() as second:
        async with first.consume(["a", "b"], lease=5), second.consume(["b"], lease=5):
            stats = await second.queues("a", "b", "nobody")
            assert [stats[q].consumers for q in ("a", "b", "nobody")] == [1, 2, 0]
        (tmp_path / "q.db.d" / "0123456789ab.lock").write_text("default/a")  # what a killed consumer leaves
        assert {name: s.consumers for name, s in (await first.queues()).items()} == {"a": 0, "b": 0}


async def test_wakes_another_instance_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polling is put out of reach, so only the doorbell can wake the consumer."""
    monkeypatch.setattr("paigeant.builtin.sqlite.consumer.POLL", 3600.0)
    async with (
        SqliteTransport(tmp_path / "q.db") as publisher,
        publisher.clone() as other,
        other.consume(["q"], lease=30) as consumer,
    ):
        for n in range(20):
            receiving = asyncio.create_task(one(consumer))
            await asyncio.sleep(0)
            await publisher.publish(publication(str(n)))
            async with asyncio.timeout(5):
                delivery = await receiving
            await delivery.settle()  # type: ignore[attr-defined]


async def test_without_a_doorbell_polling_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> Path:
        raise PermissionError(1, "no", str(path))

    async with SqliteTransport(tmp_path / "q.db") as publisher, publisher.clone() as other:
        pass
    monkeypatch.setattr(doorbell, "private_directory", refuse)
    with caplog.at_level(logging.WARNING, "paigeant.sqlite"):
        await publisher.connect()
        await other.connect()
    assert "no doorbell" in caplog.text
    async with other.consume(["q"], lease=30) as consumer:
        receiving = asyncio.create_task(one(consumer))
        await asyncio.sleep(0.05)
        await publisher.publish(publication())
        async with asyncio.timeout(session.POLL * 4):
            await receiving
    await publisher.disconnect()
    await other.disconnect()


async def test_a_long_path_gets_a_short_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", f"/tmp/pg{os.getpid()}")
    Path(f"/tmp/pg{os.getpid()}").mkdir(exist_ok=True)
    await test_wakes_another_instance_at_once(tmp_path / ("long" * 30), monkeypatch)
    home = Path(f"/tmp/pg{os.getpid()}/paigeant-{os.getuid()}")
    assert home.stat().st_mode & 0o777 == 0o700
    home.rmdir()  # nothing is left in it
    home.parent.rmdir()


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir(mode=0o755)
    assert doorbell.private_directory(tmp_path / "loose").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "loose")
    with pytest.raises(PermissionError):
        doorbell.private_directory(tmp_path / "link")
    if os.geteuid() == 0:
        os.chown(tmp_path / "loose", 12345, 12345)
        with pytest.raises(PermissionError):
            doorbell.private_directory(tmp_path / "loose")


RINGS = {
    "star": [b"*"],
    "binary": [b"\xff\x00"],
    "words": [b"kv 12 nonsense"],
    "minus": [b"-1"],
    "other script": ["١".encode()],
    "so many that some may be lost": [b"999999"] * 9,
    "empty, then junk": [b"", b"9" * 400, b"?"],
}


@pytest.mark.parametrize("rings", RINGS.values(), ids=RINGS.keys())
async def test_a_ring_that_says_nothing_certain_makes_everyone_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rings: list[bytes]
) -> None:
    monkeypatch.setattr("paigeant.builtin.sqlite.consumer.POLL", 3600.0)
    async with SqliteTransport(tmp_path / "q.db") as transport, transport.consume(["q"], lease=30) as consumer:
        await transport.publish(publication(delay=3600))
        receiving = asyncio.create_task(one(consumer))
        for _ in range(3):
            await transport.queues("q")  # by now the consumer has looked, and waits
        hand = sqlite3.connect(transport.path, isolation_level=None)
        hand.execute("UPDATE msg SET avail = 0")  # which rings no bell
        hand.close()
        (bell,) = doorbell.bell_directory(tmp_path / "q.db.d").glob("*.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as rope:
            for ring in rings:
                rope.sendto(ring, str(bell))
        async with asyncio.timeout(5):
            await receiving


async def test_the_socket_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        stale = doorbell.bell_directory(tmp_path / "q.db.d") / "0123456789abcdef.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(str(stale))
        await transport.publish(publication())
        assert not stale.exists()


async def test_idle_consumer_uses_little(tmp_path: Path) -> None:
    async with (
        SqliteTransport(tmp_path / "q.db") as transport,
        transport.consume(["a", "b", "c"], lease=30) as consumer,
    ):
        receiving = asyncio.create_task(one(consumer))
        await asyncio.sleep(0.2)
        start = time.process_time()
        await asyncio.sleep(2.0)
        used = time.process_time() - start
        receiving.cancel()
        await asyncio.wait([receiving])
        assert used < 0.01 * 2.0


async def test_cancelled_receives_leave_nothing_leased_and_count_for_nothing(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport, transport.consume(["q"], lease=3600) as consumer:
        for turn in range(30):
            receiving = asyncio.create_task(consumer.receive(5))
            await asyncio.sleep(0)
            publishing = asyncio.create_task(transport.publish(publication(str(turn))))
            for _ in range(turn % 6):
                await asyncio.sleep(0.0005)
            receiving.cancel()
            await asyncio.wait([receiving])
            await publishing
            if not receiving.cancelled():
                for delivery in receiving.result():
                    assert delivery.deliveries == 1
                    await delivery.settle()
            else:
                assert (await transport.queues("q"))["q"].in_flight == 0
        rest = (await transport.queues("q"))["q"].ready
        if rest:
            assert {d.deliveries for d in await consumer.receive(rest)} == {1}


async def test_closing_while_receiving_leaves_nothing_leased(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as watcher:
        for turn in range(15):
            transport = watcher.clone()
            await transport.connect()
            async with transport.consume(["q"], lease=3600) as consumer:
                receiving = asyncio.create_task(consumer.receive(10))
                await watcher.publish(publication(str(turn)))
                for _ in range(turn % 5):
                    await asyncio.sleep(0.0003)
                await transport.disconnect()
                (result,) = await asyncio.gather(receiving, return_exceptions=True)
                assert isinstance(result, (list, BackendClosed))
            stats = (await watcher.queues("q"))["q"]
            assert (stats.ready, stats.in_flight) == (turn + 1, 0)
            assert not list((tmp_path / "q.db.d").glob("*.lock"))


async def test_a_consume_that_is_cancelled_leaves_no_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled exactly while its thread makes the file."""
    entered, gate, make = threading.Event(), threading.Event(), Presence.open

    def slowly(presence: Presence) -> None:
        entered.set()
        gate.wait(10)
        make(presence)

    monkeypatch.setattr(Presence, "open", slowly)
    async with SqliteTransport(tmp_path / "q.db") as transport:
        task = asyncio.create_task(transport.consume(["q"], lease=30).__aenter__())
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not list((tmp_path / "q.db.d").glob("*.lock"))


async def test_a_thread_with_its_own_loop_renews(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with SqliteTransport(tmp_path / "q.db", clock=clock) as transport:
        await transport.publish(publication())
        async with transport.consume(["q"], lease=10) as consumer:
            (delivery,) = await consumer.receive(1)
            await clock.advance(9)
            lost: list[set[str]] = []

            async def renew() -> None:
                async with transport.clone() as clone:
                    lost.append(
                        await clone.renew([delivery.lease_token, "1.f.1", "nonsense", "9999999999999999999999.1.1"])
                    )

            thread = threading.Thread(target=lambda: asyncio.run(renew()))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert lost == [{"1.f.1", "nonsense", "9999999999999999999999.1.1"}]
            await clock.advance(9)
            assert (await transport.queues("q"))["q"].in_flight == 1
            await clock.advance(2)
            assert (await transport.queues("q"))["q"].ready == 1


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


async def test_a_leased_message_outlives_its_ttl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paigeant.builtin.sqlite.writer._RETENTION_PERIOD", 0.0)
    clock = VirtualClock()
    async with SqliteTransport(tmp_path / "q.db", clock=clock) as transport:
        await transport.publish(publication(ttl=5))
        async with transport.consume(["q"], lease=100) as consumer:
            (delivery,) = await consumer.receive(1)
            await clock.advance(50)
            await transport.publish(publication("other", "other"))
            await delivery.settle(publication("next", "out"))
            assert len(await transport.peek("out")) == 1


async def test_rows_damaged_by_hand_are_delivered_to_be_refused(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        await transport.publish(*(publication(str(n)) for n in range(4)))
        hand = sqlite3.connect(transport.path, isolation_level=None)
        hand.execute("UPDATE content SET headers = '{not json' WHERE mid = '0'")
        hand.execute('UPDATE content SET headers = \'{"a": 1, "b": "c"}\' WHERE mid = \'1\'')
        hand.execute("DELETE FROM content WHERE mid = '2'")
        hand.close()
        async with transport.consume(["q"], lease=30) as consumer:
            messages = [d.message for d in await consumer.receive(10)]
        assert messages == [
            Message("0", b"0", {}),
            Message("1", b"1", {"b": "c"}),
            Message("", b"", {}),
            Message("3", b"3", {"name": "3"}),
        ]


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


async def test_a_claim_that_lands_while_the_consumer_closes_gives_nothing(tmp_path: Path) -> None:
    entered, gate = threading.Event(), threading.Event()
    async with SqliteTransport(tmp_path / "q.db") as transport:
        await transport.publish(publication())
        side = transport._database.session()._writer
        assert side is not None
        commit = side.commit

        def slowly(ops: Sequence[Op]) -> object:
            result = commit(ops)
            if any(isinstance(op, Claim) for op in ops):
                entered.set()
                gate.wait(10)
            return result

        side.commit = slowly  # type: ignore[method-assign, assignment]
        async with transport.consume(["q"], lease=3600) as consumer:
            receiving = asyncio.create_task(consumer.receive(1))
            await asyncio.to_thread(entered.wait, 10)
            closing = asyncio.create_task(consumer.close())  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            gate.set()
            await closing
            with pytest.raises(BackendClosed):
                await receiving
        assert (await transport.queues("q"))["q"].ready == 1
