"""An activity that fails again and again is slowed down, and only that one."""

from __future__ import annotations

import asyncio

from paigeant.runtime.throttle import FIRST, LARGEST, TOLERATED, Throttle
from paigeant.testing.clock import VirtualClock


def _failing(clock: VirtualClock, most: int, failures: int = TOLERATED) -> Throttle:
    throttle = Throttle(clock, most)
    for _ in range(failures):
        throttle.note("bad", ok=False)
    return throttle


async def test_ten_failures_in_a_row_are_tolerated() -> None:
    throttle = _failing(VirtualClock(), 1, TOLERATED - 1)
    assert await throttle.admit("bad") == 0.0
    throttle.note("bad", ok=False)
    assert throttle.delay("bad") == FIRST
    assert throttle.delay("good") == 0.0


async def test_delays_grow_to_a_limit_and_end_with_a_success() -> None:
    throttle = _failing(VirtualClock(), 1, TOLERATED + 99)
    assert throttle.delay("bad") == LARGEST
    throttle.note("bad", ok=True)
    assert throttle.delay("bad") == 0.0


async def test_an_attempt_is_held_back() -> None:
    clock = VirtualClock()
    held = asyncio.create_task(_failing(clock, 1).admit("bad"))
    await clock.advance(FIRST * 0.9)
    assert not held.done()
    await clock.advance(FIRST * 0.2)
    assert await held == 0.0


async def test_what_is_too_many_to_hold_back_is_put_off() -> None:
    clock = VirtualClock()
    throttle = _failing(clock, 2)
    held = [asyncio.create_task(throttle.admit("bad")) for _ in range(2)]
    await clock.advance(0)
    assert await throttle.admit("bad") == FIRST
    assert await throttle.admit("good") == 0.0
    held[0].cancel()
    await clock.advance(FIRST)
    assert await held[1] == 0.0
    again = asyncio.create_task(throttle.admit("bad"))
    await clock.advance(0)
    assert not again.done(), "those that were held back have made room, the cancelled one, too"
    again.cancel()
