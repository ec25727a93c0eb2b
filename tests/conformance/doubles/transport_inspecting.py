"""Transports that count, peek, purge or diagnose badly, with one deliberate fault each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from paigeant.model.finding import Finding, Severity
from paigeant.model.message import Message, Publication, QueueStats

from ..proxies import ProxyTransport
from . import shared
from .shared import SOON


class CountsLeasedAsReady(ProxyTransport):
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        found = await self.inner.queues(*names)
        return {name: replace(s, ready=s.ready + (s.in_flight or 0)) for name, s in found.items()}


class OmitsMissingQueues(ProxyTransport):
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        known = await self.inner.queues()
        return {name: stats for name, stats in known.items() if not names or name in names}


class ListsHalf(ProxyTransport):
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        found = await self.inner.queues(*names)
        return found if names else dict(list(found.items())[:1])


class ListsNothing(ProxyTransport):
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        return await self.inner.queues(*names) if names else {}


class PeeksByTaking(ProxyTransport):
    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        found = await self.inner.peek(queue, limit)
        await self.inner.purge(queue)
        return found


class PeeksNewestFirst(ProxyTransport):
    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        return (await self.inner.peek(queue, 1000))[::-1][:limit]


class PurgesEverything(ProxyTransport):
    async def purge(self, queue: str) -> int:
        broker = self.inner.broker
        with broker.lock:
            gone = broker.queue(queue)
            count = gone.count()
            for part in (gone.ready, gone.delayed, gone.leased):
                part.clear()
        return count


class PurgesEveryNamespace(ProxyTransport):
    """Purges by name alone."""

    async def purge(self, queue: str) -> int:
        async with self.within(self.namespace.removesuffix("-b")) as other:
            return await other.purge(queue)


class TellsTexts(shared.TellsTexts, ProxyTransport):
    pass


class TellsNothing(ProxyTransport):
    """A finding without words."""

    async def diagnose(self) -> list[Finding]:
        _ = self.inner.broker
        return [Finding(Severity.OK, "version", "")]


class ProbesByPublishing(ProxyTransport):
    """Tries whether it can publish, and leaves that behind."""

    async def diagnose(self) -> list[Finding]:
        await self.inner.publish(Publication("probe", Message("probe", b"")))
        return []


class ProbesByReceiving(ProxyTransport):
    """Tries whether it can receive, and has no use for what it gets."""

    async def diagnose(self) -> list[Finding]:
        async with self.inner.consume(["work"], lease=60.0) as consumer:
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    for delivery in await consumer.receive(1):
                        await delivery.settle()
        return []


class DiagnosesUnconnected(ProxyTransport):
    """Takes it that there is a connection."""

    async def diagnose(self) -> list[Finding]:
        assert self.inner._membership.broker is not None
        return []
