"""Who cancelled an activity: the worker that stops, or the activity itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivityContext, ActivitySpec, activity

from ..support import NO_RETRY, QUICK, Bed


def _cancel_this_task() -> None:
    """As a cancel scope does that somebody entered and never left."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def test_an_activity_that_cancels_its_own_task_has_failed(bed: Bed) -> None:
    attempts: list[int] = []

    @activity(retry=QUICK)
    async def leaky(ctx: ActivityContext) -> None:
        attempts.append(ctx.attempt)
        _cancel_this_task()
        await asyncio.Event().wait()

    outcome = await bed.run([ActivitySpec("leaky")], leaky)
    assert outcome.fault is not None
    assert outcome.fault.error == "CancelledError"
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("soon", [False, True], ids=["now", "soon"])
async def test_what_is_still_to_be_cancelled_at_its_end_harms_no_commit(bed: Bed, soon: bool) -> None:
    attempts: list[int] = []

    @activity(retry=NO_RETRY)
    async def leaky(ctx: ActivityContext) -> int:
        attempts.append(ctx.attempt)
        if soon:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
        _cancel_this_task()
        return 1

    outcome = await bed.run([ActivitySpec("leaky")], leaky)
    assert outcome.results["leaky"] == 1
    assert attempts == [1]


async def _converts(running: asyncio.Event) -> None:
    running.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise RuntimeError("the connection is gone") from None


async def test_a_stop_costs_no_attempt_whatever_the_activity_makes_of_it(bed: Bed) -> None:
    running = asyncio.Event()
    attempts: list[int] = []

    @activity(retry=NO_RETRY)
    async def slow(ctx: ActivityContext) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            await _converts(running)
        return 1

    workflow = await bed.dispatch([ActivitySpec("slow")])
    async with bed.worker(slow, grace=0.0):
        await running.wait()
    async with bed.worker(slow):
        assert (await bed.outcome(workflow)).results["slow"] == 1
    assert attempts == [1, 1]
    assert await bed.all_dead() == []


def test_the_end_of_the_event_loop_is_a_stop(tmp_path: Path) -> None:
    """It cancels every task at once, those of activities as well."""
    attempts: list[int] = []
    running = asyncio.Event()

    @activity(retry=NO_RETRY)
    async def slow(ctx: ActivityContext) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            await _converts(running)
        return 1

    left: list[Any] = []

    async def first() -> str:
        bed = Bed("sqlite", "shared", tmp_path)
        left.append((bed, asyncio.create_task(bed.worker(slow).run())))
        workflow = await bed.dispatch([ActivitySpec("slow")])
        await running.wait()
        return workflow

    async def second(workflow: str) -> None:
        async with Bed("sqlite", "shared", tmp_path) as bed, bed.worker(slow):
            assert (await bed.outcome(workflow)).status == "completed"

    asyncio.run(second(asyncio.run(first())))
    assert attempts == [1, 1]
