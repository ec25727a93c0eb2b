"""Looking into a queue, and emptying it."""

from __future__ import annotations

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from paigeant.errors import PaigeantError
from paigeant.model.message import Message

from .link import Line
from .received import message_of
from .topology import on_a_channel


async def peek(line: Line, entity: str, limit: int, timeout: float) -> list[Message]:
    """Get messages on a channel of its own, whose end puts them back."""

    async def get(channel: AbstractChannel) -> list[Message]:
        found: list[Message] = []
        while len(found) < limit:
            got = await channel.basic_get(entity, no_ack=False)
            if not isinstance(got.delivery, commands.Basic.GetOk):
                break
            found.append(_message(got))
        return found

    try:
        return await on_a_channel(line, get, f"looking into queue {entity!r}", timeout)
    except PaigeantError as exc:
        if isinstance(exc.__cause__, ChannelNotFoundEntity):
            return []
        raise


async def purge(line: Line, entity: str, timeout: float) -> int:
    """Delete the ready messages; how many."""
    try:
        done = await on_a_channel(line, lambda c: c.queue_purge(entity), f"purging queue {entity!r}", timeout)
    except PaigeantError as exc:
        if isinstance(exc.__cause__, ChannelNotFoundEntity):
            return 0
        raise
    return getattr(done, "message_count", None) or 0


def _message(got: DeliveredMessage) -> Message:
    properties = got.header.properties
    return message_of(properties.message_id, dict(properties.headers or {}), got.body)
