"""Waking a task from any thread."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ...abc.clock import Clock


class Bell:
    """Belongs to the event loop it was made in; anyone may ring it.

    A waiter calls ``mute``, then looks at the shared state, then waits: what changes after the look
    rings, so no change is slept through.
    """

    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        if _running_loop() is self._loop:
            self._event.set()
        else:
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._event.set)

    def mute(self) -> None:
        """Forget earlier rings."""
        self._event.clear()

    async def wait(self, clock: Clock, delay: float | None) -> bool:
        """Return after a ring, or after ``delay`` seconds of ``clock`` (``None``: only a ring).

        :returns: whether it was a ring.
        """
        if delay is None:
            return await self._event.wait()
        with suppress(TimeoutError):
            async with clock.timeout(delay):
                await self._event.wait()
        return self._event.is_set()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a consumer that was never left is being garbage-collected
        return None
