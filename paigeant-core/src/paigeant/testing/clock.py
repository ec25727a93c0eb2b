"""Time that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

_TURNS = 10  # of the event loop, after each wake-up, so that what was woken can sleep again


class VirtualClock:
    """A ``Clock`` that stands still until ``advance`` is called. Usable from several threads.

    :param start: ``time()`` at first, in seconds since the epoch; ``monotonic()`` starts at zero.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._epoch = start
        self._now = 0.0
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._lock = threading.Lock()

    def time(self) -> float:
        return self._epoch + self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, delay: float) -> None:
        if delay <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        self._set_alarm(delay, wake)
        await future

    @asynccontextmanager
    async def timeout(self, delay: float | None) -> AsyncGenerator[asyncio.Timeout, None]:
        async with asyncio.timeout(None) as scope:
            over = False

            def expire() -> None:
                if not over:
                    scope.reschedule(0)

            if delay is not None:
                self._set_alarm(delay, expire)
            try:
                yield scope
            finally:
                over = True

    async def advance(self, seconds: float) -> None:
        """Move ``seconds`` on, waking sleepers one after the other, each at its time.

        After each wake-up the event loop turns a few times, so a task that sleeps again within these
        seconds is woken again. Tasks of other threads are woken, too, but not waited for.
        """
        end = self._now + seconds
        await _turn()  # let what has just been started fall asleep first
        while (wake := self._next_alarm(end)) is not None:
            wake()
            await _turn()
        self._now = end
        await _turn()

    def jump(self, seconds: float) -> None:
        """Change what ``time()`` tells, forwards or back, as a corrected system clock does."""
        self._epoch += seconds

    def _set_alarm(self, delay: float, ring: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # its loop is closed: nobody sleeps there any more
                loop.call_soon_threadsafe(ring)

        with self._lock:
            heapq.heappush(self._alarms, (self._now + max(0.0, delay), next(self._sequence), wake))
        if delay <= 0:
            wake()

    def _next_alarm(self, end: float) -> Callable[[], None] | None:
        with self._lock:
            if not self._alarms or self._alarms[0][0] > end:
                return None
            when, _, wake = heapq.heappop(self._alarms)
            self._now = max(self._now, when)
            return wake


async def _turn() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
