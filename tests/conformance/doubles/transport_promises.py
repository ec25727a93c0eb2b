"""Transports that break what they declare: of reply queues, their store, tokens, owners. One deliberate fault each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf
from typing import Any, ClassVar

from msgspec import structs

from paigeant.abc import Consumer, Delivery, StateStore
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import ConfigurationError
from paigeant.model.capabilities import Capabilities
from paigeant.model.message import Publication
from paigeant.model.store import ANY, Entry, Write

from ..proxies import DECLARED, ProxyTransport
from ..virtual import LoopClock


class DropsLeftReplies(ProxyTransport):
    """Deletes a reply queue, with what comes later, as soon as its consumer leaves."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.dropped: set[str] = set()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*(p for p in publications if p.queue not in self.dropped), writes=writes)

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with super().consume(queues, lease=lease, expires=expires) as consumer:
            yield consumer
        self.dropped.update(queues if expires is not None else ())


class TakesAnything(ProxyTransport):
    """Makes sense of every argument."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with super().consume(queues or ["all"], lease=lease if 0 < lease < inf else 1.0) as consumer:
            yield consumer

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        return await consumer.receive(max(1, limit))


class DropsConsumedReplies(ProxyTransport):
    """Takes ``expires`` for the age of a queue."""

    ends: ClassVar[dict[tuple[str, str], float]] = {}

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        now = asyncio.get_running_loop().time()
        live = [p for p in publications if self.ends.get((self.namespace, p.queue), now) >= now]
        await self.inner.publish(*live, writes=writes)

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        if expires is not None:
            end = asyncio.get_running_loop().time() + expires
            self.ends.update({(self.namespace, queue): end for queue in queues})
        async with super().consume(queues, lease=lease, expires=expires) as consumer:
            yield consumer


class ClosesWithItsStore(ProxyTransport):
    def state_store(self) -> StateStore | None:
        outer = self

        class Store(InMemoryStore):
            async def disconnect(self) -> None:
                await outer.disconnect()

        return Store(of=self.inner._membership)


class HasAnotherStore(ProxyTransport):
    """Its store is not the one that writes change."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.other = InMemoryTransport(f"inmemory://{id(self)}", namespace=self.namespace, clock=LoopClock())

    async def connect(self) -> None:
        await self.other.connect()
        await super().connect()

    async def disconnect(self) -> None:
        await self.other.disconnect()
        await super().disconnect()

    def state_store(self) -> StateStore | None:
        return self.other.state_store()


class HasNoStore(ProxyTransport):
    """Declares atomic writes without a store."""

    def state_store(self) -> StateStore | None:
        return None


class HasABlindStore(ProxyTransport):
    """Watchers do not notice writes that ride along."""

    def state_store(self) -> StateStore | None:
        class Store(InMemoryStore):
            async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
                yield await self.get(key)
                await asyncio.Event().wait()

        return Store(of=self.inner._membership)


class ReusesTokens(ProxyTransport):
    """The lease token names the queue, not the lease."""

    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        wrapped.lease_token = delivery.queue
        return wrapped


class Overpromises(ProxyTransport):
    """Declares that its memory is durable."""

    declares = replace(DECLARED, durable=True)


class AllowsTwoOwners(ProxyTransport):
    """Whoever settles first wins, without a compare-and-set."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await asyncio.sleep(0)
        await delivery.settle(*publications, writes=[structs.replace(w, expected=ANY) for w in writes])


class Modest(ProxyTransport):
    """Can do little and says so: no fault at all."""

    declares = Capabilities()

    def _check(self, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        _ = self.inner.broker
        if writes or any(p.delay for p in publications):
            raise ConfigurationError("cannot do that")

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self._check(publications, writes)
        await self.inner.publish(*publications)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        self._check(publications, writes)
        await delivery.settle(*publications)

    async def renew(self, tokens: Collection[str]) -> set[str]:
        await self.inner.renew([])
        return set()

    def state_store(self) -> StateStore | None:
        return None
