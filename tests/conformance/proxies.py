"""A transport and a store that pass every call on to the in-memory ones; the doubles change one thing each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, Literal, TypeVar

from paigeant.abc import Consumer, Delivery, StateStore, Transport
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import ANY, Entry, Expected, Keep, Write

from .virtual import LoopClock

DECLARED = Capabilities(atomic_settle=True, atomic_writes=True, renewable=True, counts_deliveries=True, max_delay=None)

Inner = TypeVar("Inner", InMemoryTransport, InMemoryStore)


class Proxy(Generic[Inner]):
    """What both do. ``declares`` is what the suite is told."""

    kind: type[Inner]
    declares: ClassVar[Capabilities]

    def __init__(self, namespace: str, inner: Inner | None = None) -> None:
        self.namespace = namespace
        self.inner = inner or self.within(namespace)

    def within(self, namespace: str) -> Inner:
        """What calls are passed on to."""
        return self.kind(namespace=namespace, clock=LoopClock())

    @property
    def capabilities(self) -> Capabilities:
        return self.declares

    async def connect(self) -> None:
        await self.inner.connect()

    async def disconnect(self) -> None:
        await self.inner.disconnect()

    def clone(self) -> Any:
        return type(self)(self.namespace, self.inner.clone())

    async def diagnose(self) -> list[Finding]:
        return await self.inner.diagnose()


class ProxyTransport(Proxy[InMemoryTransport], Transport):
    """Behaves."""

    scope = "process"
    kind = InMemoryTransport
    declares = DECLARED

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*publications, writes=writes)

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with self.inner.consume(queues, lease=lease, expires=expires) as consumer:
            yield ProxyConsumer(self, consumer)

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        return await consumer.receive(limit)

    def wrap(self, delivery: Delivery) -> Delivery:
        return ProxyDelivery(self, delivery)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*publications, writes=writes)

    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.release(delay)

    async def renew(self, tokens: Collection[str]) -> set[str]:
        return await self.inner.renew(tokens)

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        return await self.inner.queues(*names)

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        return await self.inner.peek(queue, limit)

    async def purge(self, queue: str) -> int:
        return await self.inner.purge(queue)

    def state_store(self) -> StateStore | None:
        return self.inner.state_store()


class ProxyConsumer(Consumer):
    def __init__(self, transport: ProxyTransport, inner: Consumer) -> None:
        self._transport, self._inner = transport, inner

    async def receive(self, limit: int) -> list[Delivery]:
        return [self._transport.wrap(d) for d in await self._transport.receive(self._inner, limit)]


class ProxyDelivery(Delivery):
    def __init__(self, transport: ProxyTransport, inner: Delivery) -> None:
        self.transport, self.inner = transport, inner
        self.queue, self.message = inner.queue, inner.message
        self.deliveries, self.lease_token = inner.deliveries, inner.lease_token

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.transport.settle(self.inner, publications, writes)

    async def release(self, delay: float = 0.0) -> None:
        await self.transport.release(self.inner, delay)


class ProxyStore(Proxy[InMemoryStore], StateStore):
    """Behaves."""

    kind = InMemoryStore
    declares = Capabilities()

    async def now(self) -> float:
        return await self.inner.now()

    async def get(self, key: str) -> Entry | None:
        return await self.inner.get(key)

    async def put(
        self,
        key: str,
        value: bytes | Literal[Keep.KEEP],
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        return await self.write(Write(key, value, expected, due, ttl))

    async def write(self, write: Write) -> int:
        """``put``, with all it was called with in one."""
        return await self.inner.put(write.key, write.value, expected=write.expected, due=write.due, ttl=write.ttl)

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        await self.inner.delete(key, expected=expected)

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        return await self.inner.scan(prefix, after=after, limit=limit)

    async def due(self, before: float, limit: int = 100) -> list[str]:
        return await self.inner.due(before, limit)

    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        async for entry in self.inner.watch(key):
            yield entry
