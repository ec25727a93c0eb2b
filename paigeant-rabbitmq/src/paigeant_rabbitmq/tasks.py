"""Tasks, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_AGAIN = 0.2


async def apart(work: Coroutine[Any, Any, T], undo: Callable[[T], Awaitable[None]] | None = None) -> T:
    """Await ``work`` in a task of its own.

    ``asyncio.wait_for``, which the client library uses, loses a cancellation on Python 3.11 if what it waits for ends
    in the same moment; and the library cancels calls of its own when a connection ends.

    :param undo: takes back a result that nobody is there to take.
    :raises ConnectionError: the library cancelled it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _check_connected(task)
        await cancel(task)
        if undo is not None and not task.cancelled() and task.exception() is None:
            await undo(task.result())
        raise


async def aside(work: Coroutine[Any, Any, T], running: set[asyncio.Task[Any]]) -> T:
    """Await ``work`` in a task of its own, which goes on to its end if we are cancelled.

    The client library closes the channel of a call that is cancelled, at times twice, and the broker answers that by
    ending the connection.

    :param running: keeps the task meanwhile.
    :raises ConnectionError: the library cancelled it.
    """
    task = asyncio.ensure_future(work)
    running.add(task)
    task.add_done_callback(running.discard)
    task.add_done_callback(_seen)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _check_connected(task)
        raise


def _check_connected(task: asyncio.Task[Any]) -> None:
    """:raises ConnectionError: the library cancelled ``task``, and nobody us."""
    current = asyncio.current_task()
    if task.cancelled() and current is not None and not current.cancelling():
        raise ConnectionError("the connection was closed meanwhile") from None


def _seen(task: asyncio.Task[Any]) -> None:
    """So that nobody is warned of an error that nobody waited for."""
    if not task.cancelled():
        task.exception()


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel them, more than once if need be (see ``apart``), and wait for their end."""
    rest = {task for task in tasks if not task.done()}
    while rest:
        for task in rest:
            task.cancel()
        _, rest = await asyncio.wait(rest, timeout=_AGAIN)
    for task in tasks:
        _seen(task)
