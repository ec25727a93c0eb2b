"""Repeated failures of one activity slow its consumption down instead of draining the queue (rule R5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..abc import Clock

TOLERATED = 10
FIRST, LARGEST = 0.1, 5.0


class Throttle:
    """After ten failures in a row of an activity each further attempt of it waits, up to 5 s; a success
    ends that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, int] = {}

    def note(self, activity: str, *, ok: bool) -> None:
        """Count an attempt."""
        if ok:
            self._failures.pop(activity, None)
        else:
            self._failures[activity] = self._failures.get(activity, 0) + 1

    def delay(self, activity: str) -> float:
        """Seconds that the next attempt waits."""
        excess = self._failures.get(activity, 0) - TOLERATED
        return 0.0 if excess < 0 else float(min(FIRST * 2 ** min(excess, 16), LARGEST))

    async def wait(self, activity: str) -> None:
        """Hold the next attempt back."""
        if self._failures:
            delay = self.delay(activity)
            if delay:
                await self._clock.sleep(delay)
