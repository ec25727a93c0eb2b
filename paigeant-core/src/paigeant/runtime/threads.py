"""Plain functions run in threads, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], name: str) -> T:
    """Run ``call`` in a daemon thread of its own, in a copy of this context.

    Not in a pool: a function cannot be interrupted, and one that hangs for ever must hold up neither
    the next one, as it would in a pool, nor the end of the process, which waits for the threads of pools.
    How many run at once is limited by the worker's concurrency.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def finish(value: T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_result((value, error))

    def work() -> None:
        value, error = None, None
        try:
            value = context.run(call)
        except BaseException as exc:
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, value, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    value, error = await done
    if error is not None:
        # As a value until here: a future refuses StopIteration, and whoever waits would wait for ever.
        raise error
    return value  # type: ignore[return-value]
