"""Queues of one process: the row goes when nobody has consumed from it for its time, and never earlier."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.testing.clock import VirtualClock

from .sqlite_kit import one, publication


class Bench:
    """A transport on a virtual clock, and a second one that writes now and then: what has lapsed goes in passing."""

    def __init__(self, directory: Path) -> None:
        self.clock = VirtualClock()
        self.transport = SqliteTransport(directory / "q.db", clock=self.clock)
        self.other = self.transport.clone()

    async def after(self, seconds: float) -> set[str]:
        """The queues there are, ``seconds`` later."""
        await self.clock.advance(seconds)
        await self.other.state_store().put("tick", b"x")
        return set(await self.transport.queues())


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("paigeant.builtin.sqlite.writer._RETENTION_PERIOD", 0.0)
    bench = Bench(tmp_path)
    async with bench.transport, bench.other:
        yield bench


async def test_a_reply_queue_goes_after_its_time_and_not_before(bench: Bench) -> None:
    async with bench.transport.consume(["reply"], lease=30, expires=60):
        assert await bench.after(50) == {"reply"}
    assert await bench.after(59) == {"reply"}
    await bench.after(2)
    assert await bench.after(60) == set()


async def test_a_reply_queue_of_a_consumer_that_lives_stays_however_long(bench: Bench) -> None:
    async with bench.transport.consume(["reply"], lease=30, expires=60) as consumer:
        for _ in range(5):
            assert await bench.after(100) == {"reply"}
        await bench.other.publish(publication("late", "reply", ttl=60))
        delivery = await one(consumer)
        assert delivery.message.id == "late"
        await delivery.settle()
    await bench.after(61)
    assert await bench.after(61) == set()


async def test_a_queue_that_a_reply_has_made_goes_with_the_reply(bench: Bench) -> None:
    await bench.other.publish(publication("nobody waits", "reply", ttl=60))
    assert await bench.after(59) == {"reply"}
    assert await bench.after(2) == set()
    assert await bench.transport.peek("reply") == []


async def test_a_queue_with_a_message_stays(bench: Bench) -> None:
    async with bench.transport.consume(["reply"], lease=30, expires=60):
        pass
    await bench.other.publish(publication("reply", "reply", ttl=500))
    for _ in range(4):
        assert await bench.after(100) == {"reply"}
    assert len(await bench.transport.peek("reply")) == 1


async def test_who_published_to_a_queue_that_went_finds_the_new_one(bench: Bench) -> None:
    await bench.other.publish(publication("first", "reply", ttl=60))
    assert await bench.after(61) == set()
    await bench.transport.publish(publication("between", "between"))  # it may take the number that became free
    async with bench.transport.consume(["reply"], lease=30, expires=60) as consumer:
        await bench.other.publish(publication("second", "reply", ttl=60))
        async with asyncio.timeout(15):
            assert (await one(consumer)).message.id == "second"
    assert [message.id for message in await bench.transport.peek("between")] == ["between"]


async def test_other_queues_stay(bench: Bench) -> None:
    async with bench.transport.consume(["worked"], lease=30):
        pass
    await bench.other.publish(publication("plain", "plain"))
    async with bench.transport.consume(["plain"], lease=30, expires=60) as consumer:
        await (await one(consumer)).settle()
    await bench.other.publish(publication("reply", "adopted", ttl=60))
    async with bench.transport.consume(["adopted"], lease=30):
        pass
    for _ in range(4):
        assert await bench.after(100) == {"worked", "plain", "adopted"}


async def test_a_file_made_before_there_were_such_queues_gets_them(bench: Bench) -> None:
    await bench.transport.publish(publication("old", "old"))
    await bench.transport.disconnect()
    await bench.other.disconnect()
    hand = sqlite3.connect(bench.transport.path)
    hand.execute("DROP TABLE lapse")
    hand.close()
    await bench.transport.connect()
    await bench.other.connect()
    async with bench.transport.consume(["reply"], lease=30, expires=60):
        pass
    await bench.after(61)
    assert await bench.after(61) == {"old"}
