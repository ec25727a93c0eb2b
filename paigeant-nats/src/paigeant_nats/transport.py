"""Queues on NATS JetStream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from paigeant.abc import Consumer, Scope, Transport, check_consume, see_through
from paigeant.errors import ConfigurationError
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import Write

from . import leases
from .atomic import OneAct
from .codec import HEADROOM, MAX_DELAY
from .consumer import NatsConsumer
from .delivery import SuccessorsFirst
from .queues import Queues
from .sending import Sender
from .session import Session
from .settings import NatsSettings

if TYPE_CHECKING:
    from .store import NatsStore


class NatsTransport(Transport):
    """Queues in one work-queue stream per namespace, and a store in another.

    :param settings: see ``NatsSettings``.
    """

    scope: ClassVar[Scope] = "network"

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self.namespace = settings.namespace
        self.location = settings.servers.shown
        self.loopback = settings.servers.loopback
        self._session = Session(settings, queues=True)
        self._sender, self._queues = Sender(self._session), Queues(self._session)
        self._consumers: set[NatsConsumer] = set()
        self._atomic: OneAct | None = None
        self._store: NatsStore | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See ``Transport.capabilities``."""
        session = self._session
        return Capabilities(
            durable=True,
            atomic_settle=self._settings.atomic,
            renewable=True,
            counts_deliveries=True,
            max_delay=None if session.queue_features.schedules else MAX_DELAY,
            max_message=session.max_payload - HEADROOM,
            dedup_window=session.queue_features.window,
            persistent_queues=True,
        )

    async def connect(self) -> None:
        """See ``Transport.connect``."""
        await self._session.open()
        if self._settings.atomic and self._atomic is None:
            self._atomic = OneAct(self._session)

    async def disconnect(self) -> None:
        """See ``Transport.disconnect``; what consumers still hold is given back.

        :raises ConfigurationError: it was connected in another event loop, which is not closed.
        """
        self._session.link.check_leaving()
        await see_through(self._disconnect())

    async def _disconnect(self) -> None:
        await asyncio.gather(*(consumer.close() for consumer in tuple(self._consumers)))
        atomic, self._atomic = self._atomic, None
        if atomic is not None:
            await atomic.close()
        if self._store is not None:
            await self._store.close()
        await self._session.close()

    def clone(self) -> Self:
        """See ``Transport.clone``."""
        return type(self)(self._settings)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Transport.publish``."""
        self._session.link.check()
        await self._sender.send(await self._sender.prepare(publications, writes))

    @contextlib.asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        """See ``Transport.consume``; leaving the context gives back what was not settled.

        With ``expires`` the consumer on the server goes with the one here; if that dies, after that time. The
        messages stay for their ``ttl``.
        """
        self._session.link.check()
        names = check_consume(queues, lease, expires)
        if not 0.1 <= lease <= 86_400 * 7:
            raise ConfigurationError(f"NATS: a lease is 0.1 s to 7 days, not {lease!r} s; set PAIGEANT_LEASE")

        async def declare(queue: str) -> int:
            return await self._queues.declare(queue, lease, expires)

        most = dict(zip(names, await asyncio.gather(*map(declare, names)), strict=True))
        consumer = NatsConsumer(self._session, self._atomic or SuccessorsFirst(self._session), most, lease, declare)
        self._consumers.add(consumer)
        try:
            await consumer.open()
            yield consumer
        finally:
            self._consumers.discard(consumer)
            await see_through(self._leave(consumer, names if expires is not None else []))

    async def _leave(self, consumer: NatsConsumer, replies: Collection[str]) -> None:
        await consumer.close()
        await asyncio.gather(*map(self._queues.forget, replies))

    async def renew(self, tokens: Collection[str]) -> set[str]:
        """See ``Transport.renew``. Only the process that received a delivery may renew it."""
        self._session.link.check()
        ends = await asyncio.gather(*map(self._renew, tokens))
        return {token for token, kept in zip(tokens, ends, strict=True) if not kept}

    async def _renew(self, token: str) -> bool:
        lease = leases.find(token)
        if lease is None or lease.acknowledging:
            return lease is not None
        sent = time.monotonic()
        await self._session.link.request(lease.reply, b"+WPI")
        return lease.renewed(sent)

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        """See ``Transport.queues``."""
        self._session.link.check()
        return await self._queues.stats(*names)

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        """See ``Transport.peek``."""
        self._session.link.check()
        return await self._queues.peek(queue, limit)

    async def purge(self, queue: str) -> int:
        """See ``Transport.purge``."""
        self._session.link.check()
        return await self._queues.purge(queue)

    def state_store(self) -> NatsStore:
        """See ``Transport.state_store``."""
        from .store import NatsStore

        if self._store is None:
            self._store = NatsStore.of(self._session)
        return self._store

    async def diagnose(self) -> list[Finding]:
        """See ``Transport.diagnose``."""
        from .diagnosis import diagnose

        return await diagnose(self._session)
