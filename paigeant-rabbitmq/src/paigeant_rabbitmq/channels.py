"""Calls on a channel of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiormq.abc import AbstractChannel

from . import errors
from .line import Line
from .sinks import Sink
from .tasks import aside

T = TypeVar("T")


async def on_a_channel(
    line: Line,
    call: Callable[[AbstractChannel], Awaitable[T]],
    what: str,
    timeout: float,
    *,
    confirms: bool = False,
    sink: Sink | None = None,
) -> T:
    """Run ``call`` on a channel of its own: what the broker refuses ends the channel, and nobody else's work."""

    async def run() -> T:
        channel: AbstractChannel | None = None
        try:
            async with asyncio.timeout(timeout):
                channel = await line.channel(sink, confirms=confirms)
                return await call(channel)
        finally:
            if channel is not None:
                await line.shut(channel)

    try:
        return await aside(run(), line.running)
    except errors.TRANSIENT as exc:
        raise errors.calling(exc, str(line.address), what) from exc
