"""Work beside an ``async with`` block: if it fails, the block is cancelled and the error raised."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """One task beside the task that made it, much as in an ``asyncio.TaskGroup``; its error comes as it is.

    :param work: what it does.
    :param name: of its task.
    """

    def __init__(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self._owner: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._task = asyncio.create_task(work, name=name)
        self._task.add_done_callback(self._ended)

    async def started(self, ready: Coroutine[Any, Any, object]) -> None:
        """Wait for ``ready``; if the work ends before, raise its error. Cancelled, it ends the work first."""
        waiting = asyncio.ensure_future(ready)
        try:
            await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        finally:
            waiting.cancel()
        if self._task.done():
            await self._task
        self._owner = asyncio.current_task()

    async def join(self) -> None:
        """Wait for the end of the work and raise its error, in the place of the cancellation that it caused."""
        owner, self._owner = self._owner, None
        if self._interrupted and owner is not None and owner.uncancel() > 0:
            return  # somebody else has cancelled the block, too: that goes first
        await self._task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None or self._owner is None:
            return
        self._interrupted = True
        self._owner.cancel()
