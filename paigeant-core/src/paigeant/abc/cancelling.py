"""What must be done although somebody cancels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def see_through(work: Awaitable[object]) -> BaseException | None:
    """Await ``work`` to its end, although we may be cancelled meanwhile: for closing and undoing.

    :returns: what it failed with, if it did: raised, it would hide what is under way. ``None`` if it was cancelled.
    :raises CancelledError: when it is done, if we were cancelled meanwhile, however often.
    """
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    error = None if task.cancelled() else task.exception()  # seen, so that nobody is warned of it
    if cancelled:
        raise asyncio.CancelledError
    return error
