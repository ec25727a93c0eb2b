"""Time, injected everywhere, so that a harness with virtual time can drive everything."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Clock(Protocol):
    """What the core knows of time."""

    def time(self) -> float:
        """Seconds since the epoch; may jump either way."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, delay: float) -> None:
        """Return after ``delay`` seconds; cancellable."""
        ...

    def timeout(self, delay: float | None) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Cancel the body after ``delay`` seconds and raise ``TimeoutError`` (``None``: never).

        The scope it gives tells whether it ``expired()``.
        """
        ...


class SystemClock:
    """The clocks of the machine and of the running event loop."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(delay)

    def timeout(self, delay: float | None) -> asyncio.Timeout:
        return asyncio.timeout(delay)
