"""Transports that lose, repeat, change or mix up what they publish, with one deliberate fault each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from msgspec import structs

from paigeant.abc import Consumer, Delivery
from paigeant.errors import ConfigurationError, MessageTooLarge
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

from ..proxies import DECLARED, ProxyTransport
from . import shared
from .shared import SOON


class LosesMessages(ProxyTransport):
    """Sends only the first eight messages of a call."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*publications[:8], writes=writes)


class SendsTwice(ProxyTransport):
    """A client library that repeats a write by itself."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*publications, writes=writes)
        await self.inner.publish(*publications)


class SendsLater(ProxyTransport):
    """Returns from publish before anything is sent, and forgets the rest at disconnect."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.tasks: set[asyncio.Task[None]] = set()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        _ = self.inner.broker
        await self.inner.publish(writes=writes)

        async def send() -> None:
            await asyncio.sleep(SOON)
            await self.inner.publish(*publications)

        task = asyncio.create_task(send())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def disconnect(self) -> None:
        for task in self.tasks:
            task.cancel()
        await super().disconnect()


class IgnoresDelay(ProxyTransport):
    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*(structs.replace(p, delay=0) for p in publications), writes=writes)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*(structs.replace(p, delay=0) for p in publications), writes=writes)


class ForgetsDelayed(ProxyTransport):
    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*(p for p in publications if not p.delay), writes=writes)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*(p for p in publications if not p.delay), writes=writes)


class DelaysEverything(ProxyTransport):
    """One delayed message holds up those behind it."""

    latest = 0.0

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self.latest = max([self.latest, *(p.delay for p in publications)])
        await self.inner.publish(*(structs.replace(p, delay=self.latest) for p in publications), writes=writes)


class WritesApart(ProxyTransport):
    """Writes one after the other, then publishes or settles."""

    async def _write(self, writes: Sequence[Write]) -> None:
        store = self.inner.state_store()
        for w in writes:
            await store.put(w.key, w.value, expected=w.expected, due=w.due, ttl=w.ttl)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self._write(writes)
        await self.inner.publish(*publications)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await self._write(writes)
        await delivery.settle(*publications)


class DropsWrites(ProxyTransport):
    """Cannot write, and does not say so."""

    declares = replace(DECLARED, atomic_writes=False)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*publications)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*publications)


class ChecksSizeTooLate(ProxyTransport):
    """Notices a message over the limit when those before it are sent, and acknowledged what was received."""

    declares = replace(DECLARED, max_message=1000, max_delay=100.0)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        for publication in publications:
            if len(publication.message.body) > 1000:
                raise MessageTooLarge("too large")
            if publication.delay > 100:
                raise ConfigurationError("too late")
            await self.inner.publish(publication)
        await self.inner.publish(writes=writes)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(writes=writes)
        await self.publish(*publications)


class PromisesDeduplication(ProxyTransport):
    declares = replace(DECLARED, dedup_window=60.0)


class DropsRepeats(ProxyTransport):
    """Deduplicates without declaring it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sent: set[tuple[str, str]] = set()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        for publication in publications:
            name = publication.queue, publication.message.id
            if name not in self.sent:
                self.sent.add(name)
                await self.inner.publish(publication)
        await self.inner.publish(writes=writes)


class KeepsDictionary(ProxyTransport):
    """Lends its dictionary of headers to the receiver as it got it from the sender."""

    lent: ClassVar[dict[str, Any]] = {}

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self.lent.update({p.message.id: p.message.headers for p in publications})
        await self.inner.publish(*publications, writes=writes)

    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        message = delivery.message
        wrapped.message = Message(message.id, message.body, self.lent.get(message.id, message.headers))
        return wrapped


class CleansHeaders(ProxyTransport):
    """Takes headers for HTTP."""

    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        message = delivery.message
        wrapped.message = Message(message.id, message.body, {k: v.strip() for k, v in message.headers.items() if v})
        return wrapped


class MixesQueues(ProxyTransport):
    """Writes ``.`` as ``-``."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        renamed = (structs.replace(p, queue=p.queue.replace(".", "-")) for p in publications)
        await self.inner.publish(*renamed, writes=writes)


class SharesNamespaces(shared.SharesNamespaces, ProxyTransport):
    pass


class NeedsItsQueueFirst(ProxyTransport):
    """Drops what is published to a queue nobody has consumed from."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        stats = await self.inner.queues()
        known = [p for p in publications if p.queue in stats]
        await self.inner.publish(*known, writes=writes)


class SeesNoArrivals(ProxyTransport):
    """Looks once a minute whether there is something."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    return await consumer.receive(limit)
            await asyncio.sleep(60)
