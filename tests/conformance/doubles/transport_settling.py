"""Transports that settle, release or are cancelled badly, with one deliberate fault each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from paigeant.abc import Delivery
from paigeant.errors import BackendClosed, LeaseLost
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

from ..proxies import ProxyTransport


class AcknowledgesFirst(ProxyTransport):
    """Acknowledges, then publishes."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle()
        await self.inner.publish(*publications, writes=writes)


class PublishesFirst(ProxyTransport):
    """Publishes, then acknowledges, and says that is one act."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await self.inner.publish(*publications, writes=writes)
        await delivery.settle()


class ForgetsToAcknowledge(ProxyTransport):
    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        if await self.inner.renew([delivery.lease_token]):
            raise LeaseLost("lost")
        await self.inner.publish(*publications, writes=writes)


class ForgetsSuccessors(ProxyTransport):
    """Publishes the first successor only."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*publications[:1], writes=writes)


class AcceptsStaleSettles(ProxyTransport):
    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        try:
            await delivery.settle(*publications, writes=writes)
        except LeaseLost:
            await self.inner.publish(*publications, writes=writes)


class AcceptsStaleReleases(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        try:
            await delivery.release(delay)
        except LeaseLost:
            await self.inner.publish(Publication(delivery.queue, delivery.message, delay))


class TearsSettles(ProxyTransport):
    """Publishes and acknowledges in two steps; a cancellation fits between."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        if await self.inner.renew([delivery.lease_token]):
            raise LeaseLost("lost")
        await delivery.settle(writes=writes)
        await asyncio.sleep(0)
        await self.inner.publish(*publications)


class TearsPublish(ProxyTransport):
    """A cancelled publish breaks the instance."""

    broken = False

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        if self.broken:
            raise BackendClosed("stuck in a publish")
        self.broken = True
        await asyncio.sleep(0)
        self.broken = False
        await self.inner.publish(*publications, writes=writes)


class ReleasesByLosing(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.settle()


class ReleasesAtOnce(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.release()


class ReleasesChanged(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        changed = Message(delivery.message.id, delivery.message.body, {"released": "yes"})
        await delivery.settle(Publication(delivery.queue, changed, delay))


class TearsReleases(ProxyTransport):
    """Acknowledges and publishes again in two steps; a cancellation fits between."""

    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.settle()
        await asyncio.sleep(0)
        await self.inner.publish(Publication(delivery.queue, delivery.message, delay))
