"""Dead letters: look at refused messages, send them again, throw them away."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..envelope.frame import ATTEMPT_HEADER
from ..model.message import Message, Publication
from ..model.names import DEAD, dead_letter_queue
from .environment import connected
from .refusal import ADDED, DIGEST, ERROR, QUEUE, REFUSED_AT

if TYPE_CHECKING:
    from ..abc import Delivery, Transport

_LEASE = 30.0
_PATIENCE = 2.0


@dataclass(frozen=True)
class DeadLetter:
    """One refused message.

    :param error: class of the error; ``digest`` SHA-256 of the body, hexadecimal.
    :param refused_at: seconds since the epoch.
    """

    id: str
    queue: str
    error: str
    digest: str
    refused_at: float
    message: Message


class DeadLetters:
    """The dead-letter queues of a transport (EIP "Dead Letter Channel")."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._opened = False

    async def __aenter__(self) -> Self:
        if not await connected(self._transport):
            await self._transport.connect()
            self._opened = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._opened:
            self._opened = False
            await self._transport.disconnect()

    async def queues(self) -> list[str]:
        """Queues that have dead letters."""
        found = await self._transport.queues()
        return sorted(name.removesuffix(DEAD) for name, stats in found.items() if name.endswith(DEAD) and stats.ready)

    async def list(self, queue: str | None = None, *, limit: int = 100) -> list[DeadLetter]:
        """Dead letters of one queue, or of all."""
        letters: list[DeadLetter] = []
        for name in [queue] if queue else await self.queues():
            found = await self._transport.peek(dead_letter_queue(name), limit - len(letters))
            letters.extend(_letter(name, message) for message in found)
        return letters[:limit]

    async def replay(self, queue: str, ids: Collection[str] | None = None) -> int:
        """Send dead letters back to their queue, byte for byte; returns how many.

        :param ids: only these messages; ``None`` is all.
        """
        dead = dead_letter_queue(queue)
        left = (await self._transport.queues(dead))[dead].ready
        replayed = 0
        kept: list[Delivery] = []
        async with self._transport.consume([dead], lease=_LEASE) as consumer:
            while left > 0:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        deliveries = await consumer.receive(min(left, 100))
                except TimeoutError:
                    break  # somebody else replayed or purged the rest
                left -= len(deliveries)
                for delivery in deliveries:
                    if ids is None or delivery.message.id in ids:
                        await delivery.settle(Publication(queue, _revived(delivery.message)))
                        replayed += 1
                    else:
                        kept.append(delivery)
            for delivery in kept:
                await delivery.release()
        return replayed

    async def purge(self, queue: str) -> int:
        """Throw the dead letters of ``queue`` away; returns how many."""
        return await self._transport.purge(dead_letter_queue(queue))


def _letter(queue: str, message: Message) -> DeadLetter:
    headers = message.headers
    try:
        at = float(headers.get(REFUSED_AT, "0"))
    except ValueError:
        at = 0.0
    return DeadLetter(
        message.id, headers.get(QUEUE, queue), headers.get(ERROR, "unknown"), headers.get(DIGEST, ""), at, message
    )


def _revived(message: Message) -> Message:
    """As it was before it was refused, with fresh attempts."""
    kept = {name: value for name, value in message.headers.items() if name not in (*ADDED, ATTEMPT_HEADER)}
    return Message(message.id, message.body, kept)
