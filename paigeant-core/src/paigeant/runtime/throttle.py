"""Repeated failures of one activity slow its consumption down instead of draining the queue (rule R5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..abc import Clock

TOLERATED = 10
FIRST, LARGEST = 0.1, 5.0


class Throttle:
    """After ten failures in a row of an activity each further attempt of it waits, up to 5 s; a success
    ends that.

    :param most: attempts that wait at the same time; further ones are not to take the slots of other activities.
    """

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock, self._most = clock, most
        self._failures: dict[str, int] = {}
        self._waiting = 0

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

    async def admit(self, activity: str) -> float:
        """Hold the next attempt back, then return 0; or, if enough are held back, for how long to put it off."""
        if not self._failures or not (delay := self.delay(activity)):
            return 0.0
        if self._waiting >= self._most:
            return delay
        self._waiting += 1
        try:
            await self._clock.sleep(delay)
        finally:
            self._waiting -= 1
        return 0.0
