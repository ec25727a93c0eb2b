"""Plain functions run in threads, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger("paigeant.activity")

T = TypeVar("T")

PUT_OFF = 5.0
"""Seconds for which an activity is put off that has left too many threads behind."""


class Threads:
    """The threads in which one worker runs plain functions, each a daemon thread of its own.

    Not in a pool: a function cannot be interrupted, and one that hangs for ever must hold up neither
    the next one, as it would in a pool, nor the end of the process, which waits for the threads of pools.

    :param most: with so many threads that have outlived their attempts an activity is put off, for each
        further attempt might leave another.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._left: Counter[str] = Counter()

    def put_off(self, activity: str) -> float:
        """Seconds until its next attempt may be tried; 0: now."""
        return PUT_OFF if self._left and self._left[activity] >= self._most else 0.0

    async def run(self, call: Callable[[], T], activity: str) -> T:
        """Run ``call`` in a copy of this context."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
        context = contextvars.copy_context()

        def finish(value: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                self._left[activity] -= 1
            else:
                done.set_result((value, error))

        def work() -> None:
            value, error = None, None
            try:
                value = context.run(call)
            except BaseException as exc:
                error = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, value, error)

        threading.Thread(target=work, name=f"paigeant-activity {activity}", daemon=True).start()
        try:
            value, error = await done
        finally:
            if done.cancelled():
                self._leave(activity)
        if error is not None:
            # As a value until here: a future refuses StopIteration, and whoever waits would wait for ever.
            raise error
        return value  # type: ignore[return-value]

    def _leave(self, activity: str) -> None:
        self._left[activity] += 1
        log.warning(
            "activity %s goes on in its thread although its attempt is over; so do %d, and at %d it is put off: give "
            "what it waits for a time-out of its own",
            activity,
            self._left[activity],
            self._most,
        )
