"""What the SQLite queues do beyond the conformance kit: sharing a file, order, leases, time."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import ConfigurationError, LeaseLost
from paigeant.model.message import Message, QueueStats
from paigeant.model.store import ABSENT, Write
from paigeant.testing.clock import VirtualClock

from .sqlite_kit import publication


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


async def test_purging_a_queue_that_does_not_exist_makes_none(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        assert await transport.purge("mistyped") == 0
        assert await transport.queues() == {}


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
        with pytest.raises(ConfigurationError, match=r"'b' has a lease of 10 s, not 20 s.*PAIGEANT_LEASE=10") as told:
            async with transport.consume(["a", "b"], lease=20):
                pass
        async with transport.consume(["a"], lease=5):
            pass
        for queues, lease in (([], 5.0), (["a"], 0.0), (["a"], float("nan"))):
            with pytest.raises(ConfigurationError):
                async with transport.consume(queues, lease=lease):
                    pass
        remedy = str(told.value).split('"')[1]
        with contextlib.closing(sqlite3.connect(tmp_path / "q.db", isolation_level=None)) as people:
            people.execute(remedy)
        async with transport.consume(["b"], lease=20):
            pass


async def test_consumers_are_counted_over_instances(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as first, first.clone() as second:
        async with first.consume(["a", "b"], lease=5), second.consume(["b"], lease=5):
            stats = await second.queues("a", "b", "nobody")
            assert [stats[q].consumers for q in ("a", "b", "nobody")] == [1, 2, 0]
        (tmp_path / "q.db.d" / "0123456789ab.lock").write_text("default/a")  # what a killed consumer leaves
        assert {name: s.consumers for name, s in (await first.queues()).items()} == {"a": 0, "b": 0}


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
