"""State stores that connect, end, diagnose or tell the time badly, with one deliberate fault each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding, Severity
from paigeant.model.store import Entry

from ..proxies import ProxyStore
from . import shared


class TellsTexts(shared.TellsTexts, ProxyStore):
    pass


class TellsWordsForSeverity(ProxyStore):
    """A severity that the doctor does not know."""

    async def diagnose(self) -> list[Finding]:
        await self.inner.now()
        return [Finding("fine", "version", "1.0")]  # type: ignore[arg-type]


class ProbesByWriting(ProxyStore):
    """Tries whether it can write, and leaves that behind."""

    async def diagnose(self) -> list[Finding]:
        await self.inner.put("probe", b"")
        return []


class DiagnosesUnconnected(ProxyStore):
    """Speaks of what it has not seen."""

    async def diagnose(self) -> list[Finding]:
        return [Finding(Severity.OK, "version", "1.0")]


class HasItsOwnTime(ProxyStore):
    """Seconds since it was made, in hours."""

    async def now(self) -> float:
        return await super().now() / 3600


class HasIntegerTime(ProxyStore):
    async def now(self) -> float:
        return int(await super().now())


class CountsConnects(shared.CountsConnects, ProxyStore):
    pass


class ConnectsOnce(shared.ConnectsOnce, ProxyStore):
    pass


class ConnectsItself(ProxyStore):
    """Connects on first use."""

    async def get(self, key: str) -> Entry | None:
        await self.inner.connect()
        return await super().get(key)


class LeaksDriverErrors(shared.LeaksDriverErrors, ProxyStore):
    pass


class SwallowsCancellation(ProxyStore):
    """A cancelled watcher goes on."""

    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        changes = self.inner.watch(key)
        yield await anext(changes)
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            await self.inner.now()  # ends it once the store is closed


class Overpromises(ProxyStore):
    """Declares that its memory is durable."""

    declares = Capabilities(durable=True)
