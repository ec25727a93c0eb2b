"""Queues on RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from paigeant.abc import Consumer, Scope, Transport, check_consume, see_through
from paigeant.errors import BackendClosed, ConfigurationError
from paigeant.model.capabilities import Capabilities
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import Write

from . import lane
from .consumer import RabbitMQConsumer
from .link import Link
from .outlet import Group
from .publisher import Publisher
from .settings import Place, RabbitMQSettings
from .topology import Topology

if TYPE_CHECKING:
    from paigeant.model.finding import Finding

log = logging.getLogger("paigeant.rabbitmq")

CANNOT_LIST = (
    "RabbitMQ cannot list its queues: name one, as in `paigeant queues QUEUE`, `paigeant dead-letters list QUEUE` or "
    "`paigeant dead-letters show ID --queue QUEUE`"
)


class _Session:
    """What one connect opened: a connection that publishes, and when it is first needed, one that receives.

    Two, because a broker short of memory or disk reads nothing more from a connection that publishes;
    acknowledgements and questions must still get through.
    """

    def __init__(self, place: Place, settings: RabbitMQSettings) -> None:
        self.settings, self.known = settings, dict[str, None]()
        self.out = Link(place, settings, f"{settings.namespace} publishing")
        self.into = Link(place, settings, f"{settings.namespace} receiving")
        self.publisher = Publisher(self.out, Topology(self.out, settings, self.known), settings)
        self.topology = Topology(self.into, settings, self.known)
        self.consumers: set[RabbitMQConsumer] = set()
        self.closed = False
        self.loop = asyncio.get_running_loop()
        self._opening = asyncio.Lock()
        self._receiving = False

    def check(self) -> None:
        """Refuse another event loop: it would share a connection unawares, and wait for ever.

        :raises ConfigurationError: there.
        """
        if asyncio.get_running_loop() is not self.loop:
            raise ConfigurationError(
                "this RabbitMQ instance belongs to another event loop: use and disconnect it there, or connect a "
                "clone() in this one"
            )

    async def receiving(self) -> Link:
        async with self._opening:
            if not self._receiving and not self.closed:
                await self.into.open()
                self._receiving = True
        if self.closed:  # at times meanwhile
            raise BackendClosed("the RabbitMQ transport was disconnected")
        return self.into

    async def close(self) -> None:
        self.closed = True
        for consumer in tuple(self.consumers):
            await consumer.close()
        await self.publisher.close()
        await self.out.close()
        await self.into.close()


class RabbitMQTransport(Transport):
    """Queues on a RabbitMQ broker or cluster; it has no state store of its own.

    :raises ConfigurationError: the settings name no broker.
    """

    scope: ClassVar[Scope] = "network"

    def __init__(self, settings: RabbitMQSettings) -> None:
        self.namespace, self._settings = settings.namespace, settings
        self._place = Place.of(settings)
        self.location = str(self._place)
        self.loopback = all(address.loopback for address in self._place.addresses)
        self._session: _Session | None = None
        self._connecting: asyncio.Lock | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See ``Transport.capabilities``. Only quorum queues count deliveries."""
        return Capabilities(
            durable=True,
            counts_deliveries=self._settings.queue_type == "quorum",
            max_delay=None,
            max_message=self._settings.max_message,
            persistent_queues=True,
        )

    async def connect(self) -> None:
        """See ``Transport.connect``."""
        connecting = self._connecting = self._connecting or asyncio.Lock()
        async with connecting:
            if self._session is not None:
                self._session.check()
                return
            session = _Session(self._place, self._settings)
            await session.out.open()
            if self._connecting is not connecting:
                await see_through(session.close())
                raise BackendClosed("the RabbitMQ transport was disconnected while it was connecting")
            self._session = session

    async def disconnect(self) -> None:
        """See ``Transport.disconnect``; what consumers still hold is free at once.

        :raises ConfigurationError: it was connected in another event loop, which is not closed.
        """
        session = self._session
        if session is not None and session.loop.is_closed():
            session = None  # nothing of it runs any more, or ever will
        if session is not None:
            session.check()
        self._session = self._connecting = None
        if session is not None:
            session.closed = True
            if error := await see_through(session.close()):
                raise error

    def clone(self) -> Self:
        """See ``Transport.clone``."""
        return type(self)(self._settings)

    def check(self) -> None:
        """:raises BackendClosed, ConfigurationError: it is not connected; or it is, in another event loop."""
        self._open()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Transport.publish``: confirmed by the broker when it returns."""
        session = self._open()
        if writes:
            raise ConfigurationError("RabbitMQ keeps no state: writes cannot ride along; pair it with a state store")
        if publications:
            await session.publisher.publish(publications)

    async def publish_for(self, publications: Sequence[Publication], group: Group, received: int) -> None:
        """For deliveries: ``publish``, telling how often the message was received before."""
        await self._open().publisher.publish(publications, group, received=received)

    @contextlib.asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        """See ``Transport.consume``. A delivery lives as long as its connection; ``lease`` is only compared."""
        session = self._open()
        names = check_consume(queues, lease, expires)
        link = await session.receiving()
        consumer = RabbitMQConsumer(self, link, session.topology, self._settings, names, expires)
        session.consumers.add(consumer)
        try:
            await consumer.open(lease)
            yield consumer
        finally:
            session.consumers.discard(consumer)
            if error := await see_through(consumer.close()):
                raise error

    async def renew(self, tokens: Collection[str]) -> set[str]:
        """See ``Transport.renew``: nothing to renew; those whose connection is gone are lost."""
        self._open()
        return {token for token in tokens if lane.lost(token)}

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        """See ``Transport.queues``. AMQP cannot list.

        :raises ConfigurationError: called without names.
        """
        topology = await self._asking()
        if not names:
            raise ConfigurationError(CANNOT_LIST)
        found: dict[str, QueueStats] = {}
        for name in names:
            ready, consumers = await topology.find(topology.queue(name)) or (0, 0)
            found[name] = QueueStats(ready, consumers=consumers)
        return found

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        """See ``Transport.peek``. The broker counts it as a delivery."""
        from .inspection import peek

        session = self._open()
        async with session.into.another() as line:
            return await peek(line, session.topology.queue(queue), limit, self._settings.timeout)

    async def purge(self, queue: str) -> int:
        """See ``Transport.purge``."""
        from .inspection import purge

        session = self._open()
        async with session.into.another() as line:
            return await purge(line, session.topology.queue(queue), self._settings.timeout)

    def state_store(self) -> None:
        """RabbitMQ has none; see the page of this transport for which to pair it with."""
        return

    async def diagnose(self) -> list[Finding]:
        """See ``Transport.diagnose``."""
        from .diagnosis import diagnose

        session = self._open()
        link = await session.receiving()
        line = await link.line(self._settings.timeout)
        return await diagnose(line, session.out, self._settings)

    async def _asking(self) -> Topology:
        session = self._open()
        await session.receiving()
        return session.topology

    def _open(self) -> _Session:
        if self._session is None:
            raise BackendClosed("the RabbitMQ transport is not connected")
        self._session.check()
        return self._session
