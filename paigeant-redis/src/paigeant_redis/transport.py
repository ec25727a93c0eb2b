"""Queues in Redis Streams."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from paigeant.abc import Consumer, Scope, Transport, check_consume
from paigeant.errors import ConfigurationError
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import Write

from .client import Reply
from .consumer import RedisConsumer
from .layout import Lease, read_message
from .link import Link
from .presence import present
from .server import Server
from .settings import RedisSettings

if TYPE_CHECKING:
    from .store import RedisStore

_PAGE: Final = 1000


class RedisTransport(Transport):
    """Queues and a store on one Redis or Valkey, shared by any number of processes.

    :param settings: where the server is, and how to reach it.
    """

    scope: ClassVar[Scope] = "network"

    def __init__(self, settings: RedisSettings) -> None:
        self.namespace = settings.namespace
        self._link = Link(settings)
        self.location = self._link.target.location
        self.loopback = all(address.loopback for address in self._link.target.hosts)
        self._consumers: set[RedisConsumer] = set()
        self._store: RedisStore | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See ``Transport.capabilities``."""
        return self._link.capabilities

    async def connect(self) -> None:
        """See ``Transport.connect``."""
        await self._link.connect()

    async def disconnect(self) -> None:
        """See ``Transport.disconnect``; what consumers still hold keeps its lease.

        :raises ConfigurationError: it was connected in another event loop, which is not closed.
        """
        self._link.check_leaving()
        for consumer in tuple(self._consumers):
            await consumer.close()
        await self._link.disconnect()

    def clone(self) -> RedisTransport:
        """See ``Transport.clone``."""
        return RedisTransport(self._link.settings)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Transport.publish``; all publications are one act."""
        server = self._link.server()
        if publications or writes:
            await server.change(publications, writes)

    @contextlib.asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        """See ``Transport.consume``; what is not settled keeps its lease."""
        server = self._link.server()
        names = check_consume(queues, lease, expires)
        await _declare(server, names, lease, expires)
        consumer = RedisConsumer(server, names, lease, expires)
        self._consumers.add(consumer)
        try:
            async with present(server, consumer):
                try:
                    yield consumer
                finally:
                    await consumer.close()
        finally:
            self._consumers.discard(consumer)
            await consumer.close()

    async def renew(self, tokens: Collection[str]) -> set[str]:
        """See ``Transport.renew``."""
        server = self._link.server()
        leases = {token: lease for token in tokens if (lease := Lease.parse(token)) is not None}
        lost = set(tokens) - leases.keys()
        if leases:
            parts = [part for lease in leases.values() for part in lease]
            owned: Reply = await server.run(server.scripts.queues, "renew", *parts)
            lost |= {token for token, yes in zip(leases, owned, strict=True) if not yes}
        return lost

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        """See ``Transport.queues``."""
        server = self._link.server()
        rows: Reply = await server.run(server.scripts.queues, "stats", *dict.fromkeys(names), changes=False)
        return {name.decode(): QueueStats(*counts) for name, *counts in rows}

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        """See ``Transport.peek``; shows ready messages."""
        server = self._link.server()
        if limit < 1:
            return []
        found: Reply = await server.run(server.scripts.queues, "peek", queue, limit, changes=False)
        return [read_message(b"", data) for data in found]

    async def purge(self, queue: str) -> int:
        """See ``Transport.purge``; in steps, so that the server is not kept from others."""
        server = self._link.server()
        purged = step = await self._purge(server, queue)
        while step >= _PAGE:
            purged += (step := await self._purge(server, queue))
        return purged

    async def _purge(self, server: Server, queue: str) -> int:
        deleted: int = await server.run(server.scripts.queues, "purge", queue, _PAGE)
        return deleted

    def state_store(self) -> RedisStore:
        """See ``Transport.state_store``."""
        from .store import RedisStore

        if self._store is None:
            self._store = RedisStore.of(self._link)
        return self._store

    async def diagnose(self) -> list[Finding]:
        """See ``Transport.diagnose``."""
        from .diagnosis import diagnose

        return await diagnose(self._link.server())


async def _declare(server: Server, queues: Sequence[str], lease: float, expires: float | None) -> None:
    kind, keep = ("", "0") if expires is None else ("r", repr(expires * 1000))
    other: Reply = await server.run(server.scripts.queues, "declare", repr(lease * 1000), kind, keep, *queues)
    if other:
        queue = other[0].decode()
        raise ConfigurationError(
            f"queue {queue!r} has a lease of {float(other[1]) / 1000:g} s, not {lease:g} s: set one lease for all "
            "workers (--lease or PAIGEANT_LEASE), or, while none runs, forget it with: "
            f"HDEL {server.prefix}:queues {queue}"
        )
