"""The in-memory transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import ClassVar

from ...abc.arguments import check_consume, check_limit
from ...abc.clock import Clock, SystemClock
from ...abc.transport import Consumer, Delivery, Scope, Transport
from ...errors import BackendClosed
from ...model.capabilities import Capabilities
from ...model.finding import Finding
from ...model.message import Message, Publication, QueueStats
from ...model.store import Write
from .bell import Bell
from .broker import Broker, Membership, Queue, Slot
from .diagnosis import diagnose
from .store import DEFAULT_URL, InMemoryStore

_CAPABILITIES = Capabilities(
    atomic_settle=True, atomic_writes=True, renewable=True, counts_deliveries=True, max_delay=None
)


class InMemoryTransport(Transport):
    """Queues of the process-wide broker of ``url`` and ``namespace``; any thread and loop may join it.

    The broker is dropped when its last instance disconnects, with one warning in the log if messages
    were lost by that.

    :param url: names the broker.
    :param namespace: of one URL, each has a broker of its own.
    :param clock: used if this instance is the broker's first; delays, leases and ttls follow it.
    """

    scope: ClassVar[Scope] = "process"

    def __init__(self, url: str = DEFAULT_URL, *, namespace: str = "default", clock: Clock | None = None) -> None:
        self.namespace = namespace
        self._membership = Membership(url, namespace, clock or SystemClock())
        self._store = InMemoryStore(of=self._membership)
        self._consumers: set[InMemoryConsumer] = set()

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    async def connect(self) -> None:
        self._membership.join()

    async def disconnect(self) -> None:
        for consumer in list(self._consumers):
            consumer.close()
        self._consumers.clear()
        self._membership.leave()

    def clone(self) -> InMemoryTransport:
        member = self._membership
        return InMemoryTransport(member.url, namespace=member.namespace, clock=member.clock)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self.broker.publish(publications, writes)

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[InMemoryConsumer, None]:
        consumer = InMemoryConsumer(self.broker, self, check_consume(queues, lease, expires), lease)
        self._consumers.add(consumer)
        try:
            yield consumer
        finally:
            self._consumers.discard(consumer)
            consumer.close()

    async def renew(self, tokens: Collection[str]) -> set[str]:
        return self.broker.renew(tokens)

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        return self.broker.stats(names)

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        return self.broker.ready(queue)[:limit]

    async def purge(self, queue: str) -> int:
        return self.broker.purge(queue)

    def state_store(self) -> InMemoryStore:
        return self._store

    async def diagnose(self) -> list[Finding]:
        _ = self.broker
        return diagnose()

    @property
    def broker(self) -> Broker:
        """The broker this instance has joined.

        :raises BackendClosed: it has not.
        """
        broker = self._membership.broker
        if broker is None:
            raise BackendClosed("the in-memory transport is not connected: call connect(), or use it with 'async with'")
        return broker


class InMemoryConsumer(Consumer):
    """Receives from some queues of a broker."""

    def __init__(self, broker: Broker, transport: InMemoryTransport, names: Collection[str], lease: float) -> None:
        self.bell = Bell()
        self._broker = broker
        self._transport = transport
        self._open = True
        with broker.lock:
            self._queues = broker.declare(names, lease)
            for queue in self._queues:
                queue.consumers.append(self)

    async def receive(self, limit: int) -> list[Delivery]:
        check_limit(limit)
        await asyncio.sleep(0)  # a checkpoint: a full queue must not keep other tasks, or a cancellation, waiting
        while True:
            self.bell.mute()
            deliveries, wake_at = self._take(limit)
            if deliveries:
                return deliveries
            clock = self._broker.clock
            if not await self.bell.wait(clock, None if wake_at == inf else max(0.0, wake_at - clock.monotonic())):
                await self._defer()

    def close(self) -> None:
        """Stop receiving and give back what is not settled."""
        with self._broker.lock:
            if not self._open:
                return
            self._open = False
            now = self._broker.clock.monotonic()
            for queue in self._queues:
                queue.consumers.remove(self)
                queue.release_all(self, now)
        self.bell.ring()

    def _take(self, limit: int) -> tuple[list[Delivery], float]:
        """Up to ``limit`` deliveries, and when to look again if there are none."""
        taken: list[Delivery] = []
        with self._broker.lock:
            if not self._open:
                raise BackendClosed("the consumer was closed: open another with consume()")
            now = self._broker.clock.monotonic()
            for queue in self._queues:
                queue.ripen(now)
                while len(taken) < limit and (leased := queue.take(self, now)):
                    taken.append(InMemoryDelivery(self._transport, queue, *leased))
            self._queues.append(self._queues.pop(0))  # another queue is first next time: none starves
            return taken, min(queue.next_change() for queue in self._queues)

    async def _defer(self) -> None:
        """A delay is over, for all who wait: let those go first whose turn it is.

        Who put a message back, for others to take, would else meet it again as long as its own timer is the first.
        """
        with self._broker.lock:
            for queue in self._queues if self._open else ():
                queue.defer(self)
        await asyncio.sleep(0)


class InMemoryDelivery(Delivery):
    """One lease of one message."""

    __slots__ = ("_queue", "_transport", "deliveries", "lease_token", "message", "queue")

    def __init__(self, transport: InMemoryTransport, queue: Queue, token: str, slot: Slot) -> None:
        self._transport = transport
        self._queue = queue
        self.queue = queue.name
        self.message = slot.message
        self.deliveries = slot.deliveries
        self.lease_token = token

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self._transport.broker.settle(self._queue, self.lease_token, publications, writes)

    async def release(self, delay: float = 0.0) -> None:
        self._transport.broker.release(self._queue, self.lease_token, delay)
