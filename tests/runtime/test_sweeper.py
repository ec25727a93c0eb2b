"""The sweeper keeps up with what is due, and outlives whatever one look meets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from paigeant import ActivityContext, ActivitySpec, RetryPolicy, WorkflowDispatcher, activity
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendCorrupt, ConfigurationError
from paigeant.model.store import Entry
from paigeant.runtime.sweeper import Sweeper
from paigeant.state.cursor import Cursor
from paigeant.state.ids import BranchKeys
from paigeant.state.transitions import HELD_BACK
from paigeant.testing import VirtualClock

from ..support import PATIENCE, STORED, Bed, Mode, until


class Odd(InMemoryStore):
    """Names a cursor that cannot be read as due, always first; and fails in a way that no store may, at first."""

    slips = 2
    reads = 0

    async def due(self, before: float, limit: int = 100) -> list[str]:
        if self.slips:
            self.slips -= 1
            raise OverflowError("a slip")
        return ["run/odd/0", *await super().due(before, limit)]

    async def get(self, key: str) -> Entry | None:
        if key == "run/odd/0":
            self.reads += 1
            raise BackendCorrupt("not written by Paigeant")
        return await super().get(key)


class Lossy(InMemoryTransport):
    """Loses the first publication."""

    lost = False

    async def publish(self, *publications: object, writes: Sequence[object] = ()) -> None:
        if not self.lost:
            self.lost = True
            return
        await super().publish(*publications, writes=writes)  # type: ignore[arg-type]


@activity
async def echo() -> int:
    return 1


async def test_neither_a_slip_nor_an_odd_entry_keeps_it_from_the_others(
    memory: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paigeant.state.transitions.RESEND_AFTER", 0.05)
    monkeypatch.setattr("paigeant.runtime.sweeper.random.sample", lambda keys, count: keys[:count])
    async with Lossy("inmemory://lossy") as transport, Odd("inmemory://odd") as store:
        async with WorkflowDispatcher(transport, state_store=store) as dispatcher:
            workflow = await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        bed = Bed("inmemory", "separate", memory.directory)
        async with bed:
            bed.transport, bed.store = transport, store
            async with bed.worker(echo), bed.client() as client, asyncio.timeout(20):
                assert (await client.result(workflow)).status == "completed"
    assert store.reads > 0
    assert caplog.text.count("the sweeper failed; it goes on") == 2


class Counting(InMemoryStore):
    """Notes how many cursors are read at once."""

    reading = most = 0

    async def get(self, key: str) -> Entry | None:
        self.reading += 1
        self.most = max(self.most, self.reading)
        await asyncio.sleep(0)
        self.reading -= 1
        return await super().get(key)


@activity("late", retry=RetryPolicy(attempts=2, first_delay=60, jitter=False))
async def late(ctx: ActivityContext) -> None:
    if ctx.attempt == 1:
        raise ValueError("not yet")


@pytest.mark.parametrize("mode", STORED)
async def test_all_that_is_due_goes_on_in_one_sweep(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paigeant.runtime.throttle.TOLERATED", 10**9)
    clock, count = VirtualClock(), 20
    async with Bed("inmemory", mode, tmp_path, clock=clock) as bed, bed.client(clock=clock) as client:
        async with bed.dispatcher(clock=clock) as dispatcher:
            workflows = [await dispatcher.dispatch_workflow([late.spec()]) for _ in range(count)]
        async with bed.worker(late, clock=clock):

            async def wait() -> bool:
                return {(await client.status(one)).state for one in workflows} == {"waiting"}

            await until(wait)
        clock.jump(61)
        store = Counting(f"inmemory://{bed._name}" + ("-state" if mode == "separate" else ""), clock=clock)
        async with store:
            env = await client._session.open()
            assert await Sweeper(env, store, limit=3).sweep() == count
        assert {(await client.status(one)).state for one in workflows} == {"ready"}
        assert store.most == 3


async def test_a_healthy_backlog_is_not_sent_again_faster_than_the_limit(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with Bed("inmemory", "separate", tmp_path, clock=clock) as bed, bed.client(clock=clock) as client:
        async with bed.dispatcher(clock=clock) as dispatcher:
            for _ in range(20):
                await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        sweeper = Sweeper(await client._session.open(), bed.state, limit=3)

        async def sent(seconds: float) -> int:
            clock.jump(seconds)
            await sweeper.sweep()
            return (await bed.transport.queues("echo"))["echo"].ready - 20

        assert [await sent(seconds) for seconds in (31, 0, 121, 0, 121)] == [3, 3, 6, 6, 9]


async def test_a_backlog_that_may_not_be_sent_again_hides_no_dead_worker(tmp_path: Path) -> None:
    clock, count = VirtualClock(), 40
    async with Bed("inmemory", "separate", tmp_path, clock=clock) as bed, bed.client(clock=clock) as client:
        async with bed.dispatcher(clock=clock) as dispatcher:
            for _ in range(count):
                await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        env = await client._session.open()
        keys = BranchKeys.of("w-dead")
        move = env.rules.claim(Cursor(queue="gone", exp=int(env.now()) + 3600), owner="o", lease=29.9, now=env.now())
        await bed.state.put(keys.cursor, move.cursor.next(out=b"x").encode(), due=env.now() + 30.9)
        clock.jump(31)
        await Sweeper(env, bed.state, limit=3).sweep()
        assert (await client.status("w-dead")).state == "ready"


async def test_a_message_lost_from_a_backlog_is_sent_again_soon_however_long_it_had_waited(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with Bed("inmemory", "separate", tmp_path, clock=clock) as bed, bed.client(clock=clock) as client:
        async with bed.dispatcher(clock=clock) as dispatcher:
            await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        sweeper = Sweeper(await client._session.open(), bed.state)

        async def after(seconds: float) -> int:
            clock.jump(seconds)
            await sweeper.sweep()
            return (await bed.transport.queues("echo"))["echo"].ready

        assert [await after(31), *[await after(121) for _ in range(20)]] == [2] * 21  # sent again once, then held back
        async with bed.transport.consume(["echo"], lease=30) as consumer:
            for delivery in await consumer.receive(10):
                await delivery.settle()
        assert await after(121) == 1
        assert [await after(121) for _ in range(HELD_BACK)][-1] == 2  # and it is not held back for ever


async def test_where_nobody_may_look_at_queues_a_lost_message_is_sent_again_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(self: InMemoryTransport, *names: str) -> NoReturn:
        raise ConfigurationError("this user may not look at queues")

    monkeypatch.setattr(InMemoryTransport, "queues", refuse)
    clock = VirtualClock()
    async with Bed("inmemory", "separate", tmp_path, clock=clock) as bed, bed.client(clock=clock) as client:
        async with bed.dispatcher(clock=clock) as dispatcher:
            workflow = await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        sweeper = Sweeper(await client._session.open(), bed.state)
        for seconds in (31, 121, 121):
            await bed.transport.purge("echo")
            clock.jump(seconds)
            await sweeper.sweep()
            assert len(await bed.transport.peek("echo")) == 1
        status = await client.status(workflow)
        assert (status.state, status.consumers) == ("ready", None)


class Stale(InMemoryStore):
    """Its index knows more than there is; it may."""

    async def due(self, before: float, limit: int = 100) -> list[str]:
        return [f"run/gone-{number}/0" for number in range(10)]


async def test_what_cannot_be_moved_is_no_reason_to_look_without_pause(memory: Bed) -> None:
    async with memory.client() as client, Stale("inmemory://stale") as store, asyncio.timeout(PATIENCE):
        assert await Sweeper(await client._session.open(), store, limit=3).sweep() == 0


async def test_what_somebody_else_has_due_stays_and_hides_no_cursor(
    memory: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    strangers = [f"timer/{number}" for number in range(30)]
    clock = VirtualClock()
    async with Bed("inmemory", "separate", memory.directory, clock=clock) as bed, bed.client(clock=clock) as client:
        for key in strangers:
            await bed.state.put(key, b"", due=1.0)
        async with bed.dispatcher(clock=clock) as dispatcher:
            await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        await bed.transport.purge("echo")
        clock.jump(31)
        sweeper = Sweeper(await client._session.open(), bed.state, limit=3)
        assert sum([await sweeper.sweep() for _ in range(5)]) == 1
        assert (await bed.transport.queues("echo"))["echo"].ready == 1
        assert sorted(await bed.state.due(clock.time(), 100)) == sorted(strangers)
    assert caplog.text.count("none of Paigeant's, such as 'timer/") == 1
