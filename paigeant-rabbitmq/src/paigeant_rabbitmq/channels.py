"""Calls on a channel of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelClosed

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
    changes: bool = False,
) -> T:
    """Run ``call`` on a channel of its own: what the broker refuses ends the channel, and nobody else's work.

    :param changes: it may have changed something although no answer comes.
    """

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
        refused = isinstance(exc, ChannelClosed)  # which is an answer
        raise errors.calling(exc, str(line.address), what, sent=changes and not refused) from exc
