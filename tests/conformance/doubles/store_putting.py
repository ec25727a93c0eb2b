"""State stores that put badly, with one deliberate fault each."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from msgspec.structs import replace

from paigeant.errors import RevisionConflict
from paigeant.model.store import ABSENT, ANY, KEEP, Entry, Expected, Write

from ..proxies import ProxyStore


class IgnoresExpected(ProxyStore):
    async def write(self, write: Write) -> int:
        return await super().write(replace(write, expected=ANY))


class IgnoresAbsent(ProxyStore):
    """Takes ABSENT for ANY."""

    async def write(self, write: Write) -> int:
        return await super().write(replace(write, expected=ANY) if write.expected is ABSENT else write)


class ChecksThenWrites(ProxyStore):
    """Compares, then writes, with time between."""

    async def write(self, write: Write) -> int:
        key, expected = write.key, write.expected
        if expected is not ANY:
            entry = await self.inner.get(key)
            found = entry.revision if entry else None
            if found != (None if expected is ABSENT else expected):
                raise RevisionConflict(key, expected=expected, found=found)
        await asyncio.sleep(0)
        return await super().write(replace(write, expected=ANY))


class TellsNoRevision(ProxyStore):
    """The conflict does not say what was found."""

    async def write(self, write: Write) -> int:
        try:
            return await super().write(write)
        except RevisionConflict as exc:
            raise RevisionConflict(write.key) from exc


class TearsPuts(ProxyStore):
    """Writes the value, then its due time; a cancellation fits between."""

    async def write(self, write: Write) -> int:
        revision = await super().write(replace(write, due=None))
        await asyncio.sleep(0)
        if write.due is None:
            return revision
        return await super().write(replace(write, value=KEEP, expected=revision))


class RepeatsCancelledPuts(ProxyStore):
    """A cancelled put is done later, whatever was written since."""

    late: Write | None = None

    async def write(self, write: Write) -> int:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.late = Write(write.key, write.value)
            raise
        revision = await super().write(write)
        if self.late:
            await super().write(self.late)
            self.late = None
        return revision


class KeepClearsTheValue(ProxyStore):
    async def write(self, write: Write) -> int:
        if write.value is KEEP:
            await self.inner.put(write.key, KEEP, expected=write.expected)
            write = replace(write, value=b"", expected=ANY)
        return await super().write(write)


class KeepMakesAnEntry(ProxyStore):
    async def write(self, write: Write) -> int:
        if write.value is KEEP and await self.inner.get(write.key) is None:
            write = replace(write, value=b"")
        return await super().write(write)


class KeepKeepsTheDue(ProxyStore):
    """KEEP changes nothing but the revision."""

    async def write(self, write: Write) -> int:
        if write.value is KEEP and (entry := await self.inner.get(write.key)):
            write = replace(write, due=entry.due)
        return await super().write(write)


class KeepsTheOldDue(ProxyStore):
    """A put without a due time leaves the old one."""

    async def write(self, write: Write) -> int:
        entry = await self.inner.get(write.key)
        if entry and write.due is None:
            write = replace(write, due=entry.due)
        return await super().write(write)


class KeepsTheOldTtl(ProxyStore):
    """A put does not lift the ttl of the one before."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ends: dict[str, float] = {}

    async def write(self, write: Write) -> int:
        now = asyncio.get_running_loop().time()
        if write.ttl is not None:
            self.ends.setdefault(write.key, now + write.ttl)
        end = self.ends.get(write.key)
        return await super().write(replace(write, ttl=None if end is None else end - now))


class NeverExpires(ProxyStore):
    async def write(self, write: Write) -> int:
        return await super().write(replace(write, ttl=None))


class ExpiresEarly(ProxyStore):
    async def write(self, write: Write) -> int:
        return await super().write(replace(write, ttl=write.ttl and write.ttl / 2))


class ChangesValues(ProxyStore):
    """Strips what it takes for white space."""

    async def write(self, write: Write) -> int:
        return await super().write(write if write.value is KEEP else replace(write, value=write.value.strip()))


class ReturnsViews(ProxyStore):
    """Values come back as ``memoryview``: equal, but no bytes."""

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        return entry and replace(entry, value=memoryview(entry.value))  # type: ignore[arg-type]


class ReusesRevisions(ProxyStore):
    """Counts the writes of each key, from one again after delete."""

    counts: ClassVar[dict[tuple[str, str], dict[int, int]]] = {}

    def _seen(self, key: str) -> dict[int, int]:
        return self.counts.setdefault((self.namespace, key), {})

    def _real(self, key: str, expected: Expected) -> Expected:
        if not isinstance(expected, int):
            return expected
        return next((real for real, own in self._seen(key).items() if own == expected), -1)

    async def write(self, write: Write) -> int:
        seen = self._seen(write.key)
        try:
            real = await super().write(replace(write, expected=self._real(write.key, write.expected)))
        except RevisionConflict as exc:
            raise RevisionConflict(write.key, found=exc.found and seen[exc.found]) from exc
        seen[real] = max(seen.values(), default=0) + 1
        return seen[real]

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        await self.inner.delete(key, expected=self._real(key, expected))
        self._seen(key).clear()

    def _own(self, entry: Entry) -> Entry:
        return replace(entry, revision=self._seen(entry.key).get(entry.revision, entry.revision))

    async def get(self, key: str) -> Entry | None:
        entry = await self.inner.get(key)
        return entry and self._own(entry)


class RevisionsStandStill(ProxyStore):
    """KEEP returns the revision that was there."""

    async def write(self, write: Write) -> int:
        entry = await self.inner.get(write.key)
        revision = await super().write(write)
        return entry.revision if write.value is KEEP and entry else revision


class ReadsItsCache(ProxyStore):
    """Keeps what it has read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cache: dict[str, Entry] = {}

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        return entry and self.cache.setdefault(key, entry)

    async def write(self, write: Write) -> int:
        self.cache.pop(write.key, None)
        return await super().write(write)
