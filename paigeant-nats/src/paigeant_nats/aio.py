"""Small helpers for asyncio."""

from __future__ import annotations

import asyncio


async def end(task: asyncio.Task[object]) -> None:
    """Cancel a task until it has ended: libraries lose a cancellation that comes together with what they wait for."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.25)
