"""State stores whose watchers see too little or too much, with one deliberate fault each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from paigeant.model.store import Entry, Write

from ..proxies import ProxyStore


class WatchesOnce(ProxyStore):
    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        yield await self.get(key)
        await asyncio.Event().wait()


class WatchesChangesOnly(ProxyStore):
    """Does not tell the entry as it is at first."""

    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        first = await self.get(key)
        async for entry in self.inner.watch(key):
            if entry != first:
                first = None
                yield entry


class WatchesItself(ProxyStore):
    """Sees only what its own instance writes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.mine: set[int] = set()

    async def write(self, write: Write) -> int:
        revision = await super().write(write)
        self.mine.add(revision)
        return revision

    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        for turn in itertools.count():
            entry = await self.get(key)
            if turn == 0 or (entry and entry.revision in self.mine):
                yield entry
            await asyncio.sleep(0.05)


class WatchesValues(ProxyStore):
    """Takes a new revision with the same value for no change."""

    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        first, seen = True, None
        async for entry in self.inner.watch(key):
            value = entry and entry.value
            if first or value != seen:
                first, seen = False, value
                yield entry


class WatchesForOne(ProxyStore):
    """Serves one watcher of a key, ever."""

    taken: ClassVar[set[tuple[str, str]]] = set()

    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        await self.get(key)
        if (self.namespace, key) in self.taken:
            await asyncio.Event().wait()
        self.taken.add((self.namespace, key))
        async for entry in self.inner.watch(key):
            yield entry


class DropsWhatComesWhileBusy(ProxyStore):
    """Forgets changes made while the watcher is not waiting."""

    async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
        while True:
            seen = await self.get(key)
            yield seen
            seen = await self.get(key)
            while await self.get(key) == seen:
                await asyncio.sleep(0.01)
