"""Small helpers for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def see_through(work: Awaitable[object]) -> None:
    """Await ``work`` to its end, although we may be cancelled meanwhile. Its failure is not ours.

    A cancellation that came meanwhile is raised when it is done.
    """
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled():
        task.exception()  # seen, so that nobody is warned of it
    if cancelled:
        raise asyncio.CancelledError


async def end(task: asyncio.Task[object]) -> None:
    """Cancel a task until it has ended: libraries lose a cancellation that comes together with what they wait for."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.25)
