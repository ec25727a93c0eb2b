"""What the SQLite queues leave behind when a call is cancelled or an instance closes: nothing."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from paigeant.builtin.sqlite.ops import Claim, Op
from paigeant.builtin.sqlite.presence import Presence, find_dead
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import BackendClosed

from .sqlite_kit import publication


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


@pytest.mark.parametrize("times", [1, 2])
async def test_a_consume_that_is_cancelled_leaves_no_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Cancelled exactly while its thread makes the file, and again while that is waited for."""
    entered, gate, make = threading.Event(), threading.Event(), Presence.open

    def slowly(presence: Presence) -> None:
        entered.set()
        gate.wait(10)
        make(presence)

    monkeypatch.setattr(Presence, "open", slowly)
    async with SqliteTransport(tmp_path / "q.db") as transport:
        task = asyncio.create_task(transport.consume(["q"], lease=30).__aenter__())
        await asyncio.to_thread(entered.wait, 10)
        for _ in range(times):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        gate.set()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not list((tmp_path / "q.db.d").glob("*.lock"))


async def test_who_looks_for_the_dead_never_finds_a_consumer_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would remove the file: then nobody counts the consumer, nor notices its death."""
    lock, dead = fcntl.flock, list[int]()

    def look_first(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        dead.extend(find_dead(tmp_path / "q.db.d"))
        lock(file, operation)

    async with SqliteTransport(tmp_path / "q.db") as transport:
        monkeypatch.setattr(fcntl, "flock", look_first)
        async with transport.consume(["q"], lease=30):
            assert fcntl.flock is lock
            assert (await transport.queues("q"))["q"].consumers == 1
    assert dead == []


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
