"""Time moved by hand."""

from __future__ import annotations

import asyncio
import threading

import pytest

from paigeant.abc import Clock
from paigeant.testing import VirtualClock


async def test_time_stands_still_until_it_is_advanced() -> None:
    clock: Clock = VirtualClock(1000.0)
    assert (clock.time(), clock.monotonic()) == (1000.0, 0.0)
    await asyncio.sleep(0.01)
    assert (clock.time(), clock.monotonic()) == (1000.0, 0.0)


async def test_sleepers_wake_in_order_each_at_its_time() -> None:
    clock, woken = VirtualClock(), list[tuple[str, float]]()

    async def sleeper(name: str, *delays: float) -> None:
        for delay in delays:
            await clock.sleep(delay)
            woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("slow", 5.0))
        group.create_task(sleeper("often", 2.0, 2.0, 2.0))
        group.create_task(sleeper("soon", 1.0))
        await clock.advance(4.5)
        assert woken == [("soon", 1.0), ("often", 2.0), ("often", 4.0)]
        assert clock.monotonic() == 4.5
        await clock.advance(10.0)
    assert woken[3:] == [("slow", 5.0), ("often", 6.0)]
    assert clock.monotonic() == 14.5


async def test_a_cancelled_sleeper_is_not_woken() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(1.0))
    await clock.advance(0.5)
    task.cancel()
    await clock.advance(5.0)
    assert task.cancelled()


async def test_sleeping_for_no_time_lets_others_run() -> None:
    clock, ran = VirtualClock(), asyncio.Event()
    task = asyncio.create_task(_set(ran))
    await clock.sleep(0)
    assert ran.is_set()
    await task


async def test_timeout_cancels_its_body_when_its_time_has_come() -> None:
    clock, ended = VirtualClock(), list[float]()

    async def body() -> None:
        try:
            async with clock.timeout(3.0):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append(clock.monotonic())

    task = asyncio.create_task(body())
    await clock.advance(2.9)
    assert not ended
    await clock.advance(0.2)
    await task
    assert ended == [3.0]


async def test_timeout_leaves_a_body_alone_that_was_in_time() -> None:
    clock = VirtualClock()
    async with clock.timeout(1.0):
        pass
    await clock.advance(5.0)
    async with clock.timeout(None):
        await clock.advance(1e9)


async def test_timeout_of_nothing_is_over_at_once() -> None:
    clock = VirtualClock()
    with pytest.raises(TimeoutError):
        async with clock.timeout(0.0):
            await asyncio.Event().wait()


async def test_cancellation_from_outside_stays_a_cancellation() -> None:
    clock, started = VirtualClock(), asyncio.Event()

    async def body() -> None:
        async with clock.timeout(3.0):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_jump_moves_the_wall_clock_only() -> None:
    clock = VirtualClock(1000.0)
    clock.jump(-400.0)
    assert (clock.time(), clock.monotonic()) == (600.0, 0.0)


async def test_sleepers_of_another_thread_are_woken() -> None:
    clock, asleep = VirtualClock(), threading.Event()

    async def sleep() -> None:
        asyncio.get_running_loop().call_soon(asleep.set)
        await clock.sleep(10.0)

    thread = threading.Thread(target=lambda: asyncio.run(sleep()))
    thread.start()
    await asyncio.to_thread(asleep.wait, 10)
    await clock.advance(10.0)
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


async def _set(event: asyncio.Event) -> None:
    event.set()
