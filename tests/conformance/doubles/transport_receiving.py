"""Transports that receive, lease or renew badly, with one deliberate fault each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, ClassVar

from paigeant.abc import Consumer, Delivery, check_consume, check_limit
from paigeant.errors import BackendClosed, BackendError, LeaseLost
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

from ..proxies import DECLARED, ProxyConsumer, ProxyTransport
from ..virtual import LoopClock
from .shared import SOON


class AcknowledgesOnReceive(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found = await consumer.receive(limit)
        for delivery in found:
            await delivery.settle()
        return found

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await self.inner.publish(*publications, writes=writes)

    async def release(self, delivery: Delivery, delay: float) -> None:
        await self.inner.publish(Publication(delivery.queue, delivery.message, delay))


class SharesLeases(ProxyTransport):
    """Every consumer receives a copy."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found = await consumer.receive(limit)
        for delivery in found:
            if len(found) < 5 and not delivery.message.headers.get("copy"):
                copy = Message(delivery.message.id, delivery.message.body, {"copy": "1"})
                await self.inner.publish(Publication(delivery.queue, copy))
        return found


class _StretchesLeases(ProxyTransport):
    by: ClassVar[float]

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with super().consume(queues, lease=lease * self.by, expires=expires) as consumer:
            yield consumer


class LeasesForEver(_StretchesLeases):
    by = 1e6


class LeasesTooShort(_StretchesLeases):
    by = 0.5


class ForgetsTheLease(ProxyTransport):
    """Lets every consumer have its own."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        with self.inner.broker.lock:
            for queue in queues:
                self.inner.broker.queue(queue).lease = None
        async with super().consume(queues, lease=lease, expires=expires) as consumer:
            yield consumer


class ForgetsWhoLeft(ProxyTransport):
    """Acknowledges at exit what was not settled."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        held: list[Delivery] = []
        async with self.inner.consume(queues, lease=lease, expires=expires) as consumer:

            class Noting(ProxyConsumer):
                async def receive(self, limit: int) -> list[Delivery]:
                    found = await super().receive(limit)
                    held.extend(found)
                    return found

            yield Noting(self, consumer)
            for delivery in held:
                with suppress(BackendError):
                    await delivery.settle()


class ReceivesAfterLeaving(ProxyTransport):
    """Keeps its consumers open until disconnect."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stack = AsyncExitStack()

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        consumer = await self.stack.enter_async_context(self.inner.consume(queues, lease=lease, expires=expires))
        yield ProxyConsumer(self, consumer)

    async def disconnect(self) -> None:
        await self.stack.aclose()
        await super().disconnect()


class IgnoresTheLimit(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        return await consumer.receive(limit + 5)


class WaitsForMore(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        try:
            async with asyncio.timeout(30):
                while len(found) < limit:
                    found += await consumer.receive(limit - len(found))
        except asyncio.CancelledError:
            for delivery in found:
                await delivery.release()
            raise
        except TimeoutError:
            pass
        return found or await consumer.receive(limit)


class PrefersOneQueue(ProxyTransport):
    """Looks into the next queue only when the first is empty."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with AsyncExitStack() as stack:
            opening = [self.inner.consume([q], lease=lease) for q in check_consume(queues, lease, expires)]
            consumers = [await stack.enter_async_context(one) for one in opening]
            yield ProxyConsumer(self, consumers[0] if len(consumers) == 1 else _InOrder(consumers))


class _InOrder(Consumer):
    def __init__(self, consumers: list[Any]) -> None:
        self.consumers = consumers

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            for consumer in self.consumers:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SOON):
                        return await consumer.receive(limit)


class PrefersOneConsumer(ProxyTransport):
    """A clone looks only while nobody waits at the original."""

    original: PrefersOneConsumer | None = None
    waiting = 0

    def clone(self) -> PrefersOneConsumer:
        clone: PrefersOneConsumer = super().clone()
        clone.original = self.original or self
        return clone

    async def receive(self, consumer: Any, limit: int) -> list[Delivery]:
        while self.original is not None:
            deliveries = [] if self.original.waiting else consumer._take(limit)[0]
            if deliveries:
                return deliveries
            await asyncio.sleep(SOON)
        self.waiting += 1
        try:
            return await consumer.receive(limit)
        finally:
            self.waiting -= 1


class ReleasesToItself(ProxyTransport):
    """Whoever releases a message with a delay receives it again, and nobody else."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.homes: dict[str, ReleasesToItself] = {}

    def clone(self) -> ReleasesToItself:
        clone: ReleasesToItself = super().clone()
        clone.homes = self.homes
        return clone

    async def release(self, delivery: Delivery, delay: float) -> None:
        await super().release(delivery, delay)
        if delay:
            self.homes[delivery.message.id] = self

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        while True:
            found = await consumer.receive(limit)
            if all(self.homes.get(delivery.message.id, self) is self for delivery in found):
                return found
            for delivery in found:
                await delivery.release()
            await asyncio.sleep(SOON)


class SwallowsCancellation(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        while True:
            with suppress(asyncio.CancelledError):
                return await consumer.receive(limit)


class LosesWhatIsCancelled(ProxyTransport):
    """Takes messages, then hesitates before it returns them."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found = await consumer.receive(limit)
        await asyncio.sleep(0.002)
        return found


class FetchesWhenCancelled(ProxyTransport):
    """A cancelled receive goes on in the background, for nobody."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        async def fetch() -> list[Delivery]:
            try:
                return await consumer.receive(limit)
            except BackendClosed:
                return []

        return await asyncio.shield(asyncio.create_task(fetch())) or await consumer.receive(limit)


class WakesForNobodysLease(ProxyTransport):
    """A waiting receive does not notice that a lease ends; a new one does."""

    async def receive(self, consumer: Any, limit: int) -> list[Delivery]:
        check_limit(limit)
        while True:
            consumer.bell.mute()
            deliveries, _ = consumer._take(limit)
            if deliveries:
                return deliveries
            await consumer.bell.wait(LoopClock(), None)


class CountsFromOne(ProxyTransport):
    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        wrapped.deliveries = 1
        return wrapped


class RenewsNothing(ProxyTransport):
    async def renew(self, tokens: Collection[str]) -> set[str]:
        await self.inner.renew([])
        return set()


class RaisesForLostTokens(ProxyTransport):
    async def renew(self, tokens: Collection[str]) -> set[str]:
        lost = await self.inner.renew(tokens)
        if lost:
            raise LeaseLost("lost")
        return lost


class LosesWithoutRenewal(ProxyTransport):
    """Not renewable, and says that everything is lost."""

    declares = replace(DECLARED, renewable=False)

    async def renew(self, tokens: Collection[str]) -> set[str]:
        await self.inner.renew([])
        return set(tokens)
