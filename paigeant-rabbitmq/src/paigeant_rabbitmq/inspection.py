"""Looking into a queue, and emptying it.

Over a connection of their own: RabbitMQ ends it if the leader of the queue has just died.
"""

from __future__ import annotations

import asyncio

from aiormq.abc import AbstractChannel

from paigeant.errors import PaigeantError
from paigeant.model.message import Message

from . import errors, frames
from .channels import on_a_channel
from .line import Line, closing_of
from .received import read

_AT_ONCE = 100
"""Messages asked for in one go."""


class _Peek:
    """Takes what is got. Not left to the client library: a hostile message would end its connection."""

    def __init__(self) -> None:
        self.found: list[Message] = []
        self.empty = self.closed = False
        self._owed = 0
        self._answered = asyncio.Event()

    async def ask(self, line: Line, channel: AbstractChannel, entity: str, number: int) -> None:
        """Get so many messages."""
        self._owed = number
        self._answered.clear()
        line.wire.send(frames.get_frame(channel.number, entity) * number)
        await self._answered.wait()
        if self.closed:
            await closing_of(channel)
            raise ConnectionError("the connection was closed")

    def on_message(self, method: bytes, header: bytes, body: bytes, returned: bool) -> None:
        if method:
            again = frames.read_got(method)
            self.found.append(read(header, body, redelivered=again, counted=False).message)
        else:
            self.empty = True
        self._owed -= 1
        if not self._owed:
            self._answered.set()

    def on_confirm(self, tag: int, multiple: bool, stored: bool) -> None:
        """Nothing is published on this channel."""

    def on_close(self) -> None:
        self.closed = True
        self._answered.set()


async def peek(line: Line, entity: str, limit: int, timeout: float) -> list[Message]:
    """Get messages on a channel of its own, whose end puts them back."""
    sink = _Peek()

    async def get(channel: AbstractChannel) -> list[Message]:
        while not sink.empty and len(sink.found) < limit:
            await sink.ask(line, channel, entity, min(limit - len(sink.found), _AT_ONCE))
        return sink.found

    try:
        return await on_a_channel(line, get, f"looking into queue {entity!r}", timeout, sink=sink)
    except PaigeantError as exc:
        if errors.missing(exc.__cause__):
            return []
        raise


async def purge(line: Line, entity: str, timeout: float) -> int:
    """Delete the ready messages; how many."""
    try:
        done = await on_a_channel(
            line, lambda c: c.queue_purge(entity), f"purging queue {entity!r}", timeout, changes=True
        )
    except PaigeantError as exc:
        if errors.missing(exc.__cause__):
            return 0
        raise
    return getattr(done, "message_count", None) or 0
