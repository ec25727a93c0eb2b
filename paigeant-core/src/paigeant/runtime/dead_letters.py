"""Dead letters: look at refused messages, send them again, throw them away."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..abc import Clock, SystemClock
from ..envelope.frame import ATTEMPT_HEADER, GEN_HEADER, SEEN_HEADER, header_number
from ..errors import BackendError, LeaseLost, WorkflowError
from ..model.message import Message, Publication
from ..model.names import DEAD, dead_letter_queue
from ..state.ids import digest_of
from .refusal import ADDED, DIGEST, ERROR, REFUSED_AT, SIZE
from .sharing import open_shared

if TYPE_CHECKING:
    from ..abc import Consumer, Delivery, Transport

log = logging.getLogger("paigeant.runtime")

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

    @property
    def kept(self) -> bool:
        """Whether the body is here; one that the broker would not take again is not, and cannot be sent again."""
        return SIZE not in self.message.headers

    @property
    def size(self) -> int:
        """Bytes of the body that was refused."""
        return header_number(self.message.headers, SIZE, len(self.message.body))


class DeadLetters:
    """The dead-letter queues of a transport (EIP "Dead Letter Channel")."""

    def __init__(self, transport: Transport, *, clock: Clock | None = None) -> None:
        self._transport = transport
        self._clock: Clock = clock or SystemClock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await open_shared(self._stack, self._transport)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

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
        """Send dead letters back to their queue, byte for byte, under new ids; returns how many.

        :param ids: only these messages; ``None`` is all.
        :raises WorkflowError: the bodies of some were not kept. All others were sent.
        """
        dead = dead_letter_queue(queue)
        found = (await self._transport.queues(dead))[dead].ready
        if not found:
            return 0  # to consume it would create it
        replayed, bodiless = 0, list[str]()
        async with self._transport.consume([dead], lease=_LEASE) as consumer, self._holding() as held:
            while (left := found - replayed - len(held)) > 0:
                deliveries = await _received(consumer, min(left, 100), self._clock)
                if not deliveries:
                    break  # somebody else replayed or purged the rest
                held.update((delivery.lease_token, delivery) for delivery in deliveries)
                for delivery in deliveries:
                    if ids is not None and delivery.message.id not in ids:
                        continue
                    if SIZE in delivery.message.headers:
                        bodiless.append(delivery.message.id)
                    else:
                        replayed += await _still_ours(delivery.settle(Publication(queue, _revived(delivery.message))))
                        held.pop(delivery.lease_token, None)
            for delivery in tuple(held.values()):
                await _still_ours(delivery.release())
        _check_bodies(queue, replayed, bodiless)
        return replayed

    @asynccontextmanager
    async def _holding(self) -> AsyncGenerator[dict[str, Delivery]]:
        """Deliveries by lease token, renewed for as long as they are in here; a lost one is taken out."""
        held: dict[str, Delivery] = {}
        renewing = asyncio.create_task(self._renew(held), name="paigeant dead letters")
        try:
            yield held
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _renew(self, held: dict[str, Delivery]) -> None:
        while True:
            await self._clock.sleep(_LEASE / 3)
            try:
                lost = await self._transport.renew(tuple(held))
            except BackendError as exc:
                log.warning("the leases of dead letters could not be renewed: %s", exc)
                continue
            for token in lost:
                held.pop(token, None)

    async def purge(self, queue: str) -> int:
        """Throw the dead letters of ``queue`` away; returns how many."""
        return await self._transport.purge(dead_letter_queue(queue))


def _letter(queue: str, message: Message) -> DeadLetter:
    headers = message.headers
    try:
        at = float(headers.get(REFUSED_AT, "0"))
    except ValueError:
        at = 0.0
    # Headers are unsigned: where it lies is known, whatever they say.
    return DeadLetter(message.id, queue, headers.get(ERROR, "unknown"), headers.get(DIGEST, ""), at, message)


def _check_bodies(queue: str, replayed: int, bodiless: Collection[str]) -> None:
    if bodiless:
        raise WorkflowError(
            f"{replayed} sent back to {queue!r}; {len(bodiless)} cannot be, as the broker would not take their bodies "
            f"again and only digest and size were kept: {', '.join(bodiless)}; raise its limit before more are lost, "
            f"dispatch these workflows again, and throw their dead letters away: paigeant dead-letters purge {queue}"
        )


async def _received(consumer: Consumer, limit: int, clock: Clock) -> list[Delivery]:
    try:
        async with clock.timeout(_PATIENCE):
            return await consumer.receive(limit)
    except TimeoutError:
        return []


async def _still_ours(act: Awaitable[None]) -> bool:
    """Whether it was done; else the lease was lost, and the message is back in its queue or with somebody else."""
    try:
        await act
    except LeaseLost:
        return False
    return True


def _revived(message: Message) -> Message:
    """As it was before it was refused, with fresh attempts and patience, under an id of its own and with one generation
    more, so that what becomes of it is news to observers.

    Under the old id, the window in which a broker drops repeats would swallow it. The new id is the same
    whenever *this* dead letter is sent, so that a crash before it is settled makes no second copy.
    """
    headers = message.headers
    refusal = (hashlib.sha256(message.body).hexdigest(), headers.get(REFUSED_AT, ""))
    kept = {name: value for name, value in headers.items() if name not in (*ADDED, ATTEMPT_HEADER, SEEN_HEADER)}
    gen = {GEN_HEADER: str(header_number(headers, GEN_HEADER, 0) + 1)}
    return Message(digest_of("replay", message.id, *refusal), message.body, {**kept, **gen})
