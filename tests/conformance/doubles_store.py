"""State stores with one deliberate fault each."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, ClassVar, Literal

from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.errors import BackendClosed, ConfigurationError, RevisionConflict
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding, Severity
from paigeant.model.store import ABSENT, ANY, KEEP, Entry, Expected, Keep, check_key

from .proxies import ProxyStore
from .virtual import LoopClock

Value = bytes | Literal[Keep.KEEP]


class _Putting(ProxyStore):
    """Base of those whose fault is in put."""

    async def put(
        self,
        key: str,
        value: Value,
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        return await self.write(key, value, expected, due, ttl)

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        return await self.inner.put(key, value, expected=expected, due=due, ttl=ttl)


class IgnoresExpected(_Putting):
    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        return await self.inner.put(key, value, due=due, ttl=ttl)


class IgnoresAbsent(_Putting):
    """Takes ABSENT for ANY."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        return await super().write(key, value, ANY if expected is ABSENT else expected, due, ttl)


class ChecksThenWrites(_Putting):
    """Compares, then writes, with time between."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        if expected is not ANY:
            entry = await self.inner.get(key)
            found = entry.revision if entry else None
            if found != (None if expected is ABSENT else expected):
                raise RevisionConflict(key, expected=expected, found=found)
        await asyncio.sleep(0)
        return await self.inner.put(key, value, due=due, ttl=ttl)


class TellsNoRevision(_Putting):
    """The conflict does not say what was found."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        try:
            return await super().write(key, value, expected, due, ttl)
        except RevisionConflict as exc:
            raise RevisionConflict(key) from exc


class TearsPuts(_Putting):
    """Writes the value, then its due time; a cancellation fits between."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        revision = await super().write(key, value, expected, None, ttl)
        await asyncio.sleep(0)
        return revision if due is None else await super().write(key, KEEP, revision, due, ttl)


class RepeatsCancelledPuts(_Putting):
    """A cancelled put is done later, whatever was written since."""

    late: tuple[str, Value] | None = None

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.late = key, value
            raise
        revision = await super().write(key, value, expected, due, ttl)
        if self.late:
            await self.inner.put(*self.late)
            self.late = None
        return revision


class KeepClearsTheValue(_Putting):
    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        if value is KEEP:
            await self.inner.put(key, KEEP, expected=expected)
        return await super().write(key, b"" if value is KEEP else value, ANY if value is KEEP else expected, due, ttl)


class KeepMakesAnEntry(_Putting):
    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        if value is KEEP and await self.inner.get(key) is None:
            value = b""
        return await super().write(key, value, expected, due, ttl)


class KeepKeepsTheDue(_Putting):
    """KEEP changes nothing but the revision."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        if value is KEEP and (entry := await self.inner.get(key)):
            due = entry.due
        return await super().write(key, value, expected, due, ttl)


class KeepsTheOldDue(_Putting):
    """A put without a due time leaves the old one."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        entry = await self.inner.get(key)
        return await super().write(key, value, expected, entry.due if entry and due is None else due, ttl)


class KeepsTheOldTtl(_Putting):
    """A put does not lift the ttl of the one before."""

    def __init__(self, namespace: str, inner: InMemoryStore | None = None) -> None:
        super().__init__(namespace, inner)
        self.ends: dict[str, float] = {}

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        now = asyncio.get_running_loop().time()
        if ttl is not None:
            self.ends.setdefault(key, now + ttl)
        return await super().write(key, value, expected, due, self.ends[key] - now if key in self.ends else None)


class NeverExpires(_Putting):
    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        return await super().write(key, value, expected, due, None)


class ExpiresEarly(_Putting):
    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        return await super().write(key, value, expected, due, ttl and ttl / 2)


class ChangesValues(_Putting):
    """Strips what it takes for white space."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        return await super().write(key, value if value is KEEP else value.strip(), expected, due, ttl)


class ReturnsViews(ProxyStore):
    """Values come back as ``memoryview``: equal, but no bytes."""

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        return entry and entry._replace(value=memoryview(entry.value))  # type: ignore[arg-type]


class ReusesRevisions(ProxyStore):
    """Counts the writes of each key, from one again after delete."""

    counts: ClassVar[dict[tuple[str, str], dict[int, int]]] = {}

    def _seen(self, key: str) -> dict[int, int]:
        return self.counts.setdefault((self.namespace, key), {})

    def _real(self, key: str, expected: Expected) -> Expected:
        if not isinstance(expected, int):
            return expected
        return next((real for real, own in self._seen(key).items() if own == expected), -1)

    async def put(
        self,
        key: str,
        value: Value,
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        try:
            real = await self.inner.put(key, value, expected=self._real(key, expected), due=due, ttl=ttl)
        except RevisionConflict as exc:
            raise RevisionConflict(key, found=exc.found and self._seen(key)[exc.found]) from exc
        seen = self._seen(key)
        seen[real] = max(seen.values(), default=0) + 1
        return seen[real]

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        await self.inner.delete(key, expected=self._real(key, expected))
        self._seen(key).clear()

    def _own(self, entry: Entry) -> Entry:
        return entry._replace(revision=self._seen(entry.key).get(entry.revision, entry.revision))

    async def get(self, key: str) -> Entry | None:
        entry = await self.inner.get(key)
        return entry and self._own(entry)


class RevisionsStandStill(_Putting):
    """KEEP returns the revision that was there."""

    async def write(self, key: str, value: Value, expected: Expected, due: float | None, ttl: float | None) -> int:
        entry = await self.inner.get(key)
        revision = await super().write(key, value, expected, due, ttl)
        return entry.revision if value is KEEP and entry else revision


class ReadsItsCache(ProxyStore):
    """Keeps what it has read."""

    def __init__(self, namespace: str, inner: InMemoryStore | None = None) -> None:
        super().__init__(namespace, inner)
        self.cache: dict[str, Entry] = {}

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        return entry and self.cache.setdefault(key, entry)

    async def put(
        self,
        key: str,
        value: Value,
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        self.cache.pop(key, None)
        return await super().put(key, value, expected=expected, due=due, ttl=ttl)


class DeletesNothing(ProxyStore):
    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        check_key(key)
        if expected is ANY:
            await self.inner.get(key)
            return
        await super().delete(key, expected=expected)


class DeletesAnyRevision(ProxyStore):
    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        await self.inner.delete(key)


class DeletesOnlyWhatIsThere(ProxyStore):
    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        if await self.inner.get(key) is None:
            raise RevisionConflict(key)
        await super().delete(key, expected=expected)


class TakesAnyKey(ProxyStore):
    async def get(self, key: str) -> Entry | None:
        with suppress(ConfigurationError):
            return await super().get(key)
        return None


class FoldsCase(ProxyStore):
    async def get(self, key: str) -> Entry | None:
        entry = await self.inner.get(key.lower())
        return entry and entry._replace(key=key)

    async def put(
        self,
        key: str,
        value: Value,
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        return await self.inner.put(key.lower(), value, expected=expected, due=due, ttl=ttl)


class SharesNamespaces(ProxyStore):
    def __init__(self, namespace: str, inner: InMemoryStore | None = None) -> None:
        super().__init__(namespace, inner or InMemoryStore(namespace=namespace.removesuffix("-b"), clock=LoopClock()))


class ScansByPattern(ProxyStore):
    """``_`` stands for any character, as in SQL."""

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        everything = await self.inner.scan("", after=after, limit=1000)
        pattern = prefix.replace("_", "?") + "*"
        folded = [e for e in everything if fnmatch.fnmatch(e.key.lower(), pattern.lower())]
        return folded[:limit]


class ScansFromAfter(ProxyStore):
    """Includes ``after`` itself."""

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        entry = await self.inner.get(after) if after else None
        return ([entry] if entry else []) + await self.inner.scan(prefix, after=after, limit=limit - 1)


class ScansWithoutOrder(ProxyStore):
    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        return (await self.inner.scan(prefix, after=after, limit=limit))[::-1]


class ScansKeysOnly(ProxyStore):
    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        return [e._replace(value=b"") for e in await self.inner.scan(prefix, after=after, limit=limit)]


class ScansWhatIsGone(ProxyStore):
    """Its index forgets no deleted or expired entry."""

    def __init__(self, namespace: str, inner: InMemoryStore | None = None) -> None:
        super().__init__(namespace, inner)
        self.index: dict[str, Entry] = {}

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        found = await self.inner.scan(prefix, after=after, limit=limit)
        gone = [e for e in self.index.values() if e.key.startswith(prefix) and await self.inner.get(e.key) is None]
        return [*found, *gone][:limit]

    async def put(
        self,
        key: str,
        value: Value,
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        revision = await super().put(key, value, expected=expected, due=due, ttl=ttl)
        self.index[key] = Entry(key, b"", revision)
        return revision


class MissesMovedDues(ProxyStore):
    """Its index of due times is that of the first put."""

    firsts: ClassVar[dict[tuple[str, str], float]] = {}

    async def put(
        self,
        key: str,
        value: Value,
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        revision = await super().put(key, value, expected=expected, due=due, ttl=ttl)
        if due is not None:
            self.firsts.setdefault((self.namespace, key), due)
        return revision

    async def due(self, before: float, limit: int = 100) -> list[str]:
        listed = await self.inner.due(before, limit)
        return [key for key in listed if self.firsts[self.namespace, key] <= before]


class ListsDueOnce(ProxyStore):
    """Removes from the index what it has listed."""

    def __init__(self, namespace: str, inner: InMemoryStore | None = None) -> None:
        super().__init__(namespace, inner)
        self.told: set[str] = set()

    async def due(self, before: float, limit: int = 100) -> list[str]:
        found = [key for key in await self.inner.due(before, limit) if key not in self.told]
        self.told.update(found)
        return found


class ListsDueByKey(ProxyStore):
    async def due(self, before: float, limit: int = 100) -> list[str]:
        return sorted(await self.inner.due(before, 1000), reverse=True)[:limit]


class ListsDueBefore(ProxyStore):
    """Leaves out what is due at the very time asked for."""

    async def due(self, before: float, limit: int = 100) -> list[str]:
        return await self.inner.due(before - 1e-6, limit)


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

    def __init__(self, namespace: str, inner: InMemoryStore | None = None) -> None:
        super().__init__(namespace, inner)
        self.mine: set[int] = set()

    async def put(
        self,
        key: str,
        value: Value,
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        revision = await super().put(key, value, expected=expected, due=due, ttl=ttl)
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


class TellsTexts(ProxyStore):
    """Its diagnosis is text."""

    async def diagnose(self) -> list[Any]:
        await self.inner.now()
        return ["all is well"]


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


class CountsConnects(ProxyStore):
    count = 0

    async def connect(self) -> None:
        self.count += 1
        await self.inner.connect()

    async def disconnect(self) -> None:
        self.count -= 1
        if self.count <= 0:
            await self.inner.disconnect()


class ConnectsOnce(ProxyStore):
    used = False

    async def connect(self) -> None:
        if self.used:
            raise BackendClosed("used up")
        await self.inner.connect()

    async def disconnect(self) -> None:
        self.used = self.used or self.inner._membership.broker is not None
        await self.inner.disconnect()


class ConnectsItself(ProxyStore):
    """Connects on first use."""

    async def get(self, key: str) -> Entry | None:
        await self.inner.connect()
        return await super().get(key)


class LeaksDriverErrors(ProxyStore):
    """Cannot be reached, and raises what its client library raises."""

    unreachable: ClassVar[bool] = True

    async def connect(self) -> None:
        if self.namespace == "unreachable":
            raise ConnectionRefusedError("driver")
        await self.inner.connect()


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

    declares: ClassVar[Capabilities] = Capabilities(durable=True)


DOUBLES: list[type[ProxyStore]] = [
    cls
    for name, cls in list(globals().items())
    if isinstance(cls, type) and issubclass(cls, ProxyStore) and cls is not ProxyStore and not name.startswith("_")
]
