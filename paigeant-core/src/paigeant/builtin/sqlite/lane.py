"""A thread that runs calls one after another, for an event loop that must not block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from ...errors import BackendClosed

T = TypeVar("T")


class Lane:
    """One thread with a queue of calls.

    A daemon, so that a program which never disconnects can still exit: every commit is durable by
    itself, and an interrupted one is undone by the next to open the file.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` in the thread. A caller that is cancelled leaves it running.

        :raises BackendClosed: after ``stop``.
        """
        if self._stopped:
            raise BackendClosed("the SQLite instance was disconnected")
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put(lambda: self._perform(call, future))
        return await future

    def stop(self, last: Callable[[], None]) -> asyncio.Future[None]:
        """End the thread after the calls so far and after ``last``; that it did so can be awaited."""
        self._stopped = True
        future: asyncio.Future[None] = self._loop.create_future()
        self._calls.put(lambda: self._perform(last, future))
        self._calls.put(None)
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _perform(self, call: Callable[[], T], future: asyncio.Future[T]) -> None:
        try:
            result, error = call(), None
        except BaseException as exc:
            result, error = None, exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_finish, future, result, error)


def _finish(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
