"""Clocks that jump either way: nothing lost, no step committed twice, one terminal state."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from paigeant import Activity, ActivityContext, ActivitySpec, activity
from paigeant.abc import SystemClock
from paigeant.runtime import reception
from paigeant.runtime.sweeper import Sweeper

from ..support import KINDS, MODES, QUICK, Bed, Kind, Mode, until


class JumpingClock(SystemClock):
    """The system's clock, corrected by ``jump`` seconds, as by an administrator or NTP."""

    def __init__(self) -> None:
        self.jump = 0.0

    def time(self) -> float:
        return time.time() + self.jump


def journey(clock: JumpingClock, jump: float, ran: list[str]) -> list[Activity[..., Any]]:
    """The second of three steps fails once; the clock jumps while its first attempt runs."""

    def count(ctx: ActivityContext, name: str) -> None:
        ran.append(name)
        ctx.variables[name] = ctx.variables.get(name, 0) + 1

    @activity
    async def first(ctx: ActivityContext) -> None:
        count(ctx, "first")

    @activity(retry=QUICK)
    async def second(ctx: ActivityContext) -> None:
        count(ctx, "second")
        if ran.count("second") == 1:
            clock.jump = jump
            raise ValueError("again")

    @activity
    async def third(ctx: ActivityContext) -> None:
        count(ctx, "third")

    return [first, second, third]


SLIP = [ActivitySpec(name) for name in ("first", "second", "third")]


@pytest.mark.parametrize("jump", [3600.0, -50.0], ids=["forwards", "backwards"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_clock_that_jumps_within_a_hop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, mode: Mode, jump: float
) -> None:
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    clock, ran = JumpingClock(), list[str]()
    async with Bed(kind, mode, tmp_path, clock=clock) as bed:
        served = journey(clock, jump, ran)
        async with (
            bed.dispatcher(clock=clock) as dispatcher,
            bed.client(clock=clock) as client,
            bed.worker(*served, clock=clock),
            bed.worker(*served, clock=clock),
        ):
            workflow = await dispatcher.dispatch_workflow(SLIP)
            if jump < 0:
                # What was to come 10 ms later would come 50 s later, if the clock were not put right.
                await until(lambda: clock.jump == jump)
                clock.jump = 0.0
            outcome = await client.outcome(workflow, timeout=10)
            assert outcome.status == "completed"
            if mode != "none":
                history = [(hop.activity, hop.status) for hop in await client.history(workflow)]
                assert history == [("first", "ok"), ("second", "ok"), ("third", "ok")]
        # A lease that the jump ended early may have made a body run again; it took effect once.
        assert dict(outcome.variables) == {"first": 1, "second": 1, "third": 1}
        assert list(dict.fromkeys(ran)) == ["first", "second", "third"]
        assert await bed.all_dead() == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_clock_an_hour_behind_delays_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, mode: Mode
) -> None:
    """Records seem to come from the future: they wait until the clock is right again."""
    monkeypatch.setattr(reception, "ODD_DELAY", 0.05)
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    clock, ran = JumpingClock(), list[str]()

    @activity
    async def one() -> None:
        ran.append("one")
        clock.jump = -3600.0
        await until(lambda: knows() < time.time() - 1800, "a look at the clock")

    @activity
    async def two() -> None:
        ran.append("two")

    async with Bed(kind, mode, tmp_path, clock=clock) as bed:
        async with (
            bed.dispatcher(clock=clock) as dispatcher,
            bed.client(clock=clock) as client,
            bed.worker(one, two, clock=clock) as worker,
        ):
            knows = (await worker._session.open()).now
            workflow = await dispatcher.dispatch_workflow([ActivitySpec("one"), ActivitySpec("two")])

            async def waits() -> bool:
                stats = (await bed.transport.queues("two"))["two"]
                return clock.jump < 0 and bool(stats.delayed)

            await until(waits)
            assert ran == ["one"]
            clock.jump = 0.0
            assert (await client.outcome(workflow, timeout=10)).status == "completed"
        assert ran == ["one", "two"]
        assert await bed.all_dead() == []


@pytest.mark.parametrize("whose", ["ours", "the store's"])
@pytest.mark.parametrize("kind", KINDS)
async def test_leases_follow_only_the_clock_of_the_store(tmp_path: Path, kind: Kind, whose: str) -> None:
    ours, stores = JumpingClock(), JumpingClock()
    running, go_on = asyncio.Event(), asyncio.Event()

    @activity
    async def slow() -> None:
        running.set()
        await go_on.wait()

    async with Bed(kind, "separate", tmp_path, clock=stores) as bed, bed.client(clock=ours) as odd:
        env = await odd._session.open()
        sweeper = Sweeper(env, bed.state)
        workflow = await bed.dispatch([ActivitySpec("slow")])
        async with bed.worker(slow, lease=60.0):
            await running.wait()
            (ours if whose == "ours" else stores).jump = 3600.0
            assert await sweeper.sweep() == (whose != "ours")
            go_on.set()
            assert (await bed.outcome(workflow)).status == "completed"


async def test_who_waited_long_reads_the_outcome_at_the_time_of_the_store(tmp_path: Path) -> None:
    """The monotonic clock stands still while a machine sleeps."""
    clock = JumpingClock()

    @activity
    async def late() -> None:
        clock.jump = 3600.0

    async with Bed("inmemory", "separate", tmp_path, clock=clock) as bed, bed.client() as client:
        workflow = await bed.dispatch([ActivitySpec("late"), ActivitySpec("last")])
        asking = asyncio.create_task(client.outcome(workflow, timeout=10))
        async with bed.worker(late):

            async def done() -> bool:
                return (await bed.transport.queues("last"))["last"].ready > 0

            await until(done)
        async with bed.worker(activity("last")(lambda: None)):
            assert (await asking).status == "completed"
