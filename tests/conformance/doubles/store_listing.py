"""State stores that delete, scan or list what is due badly, with one deliberate fault each."""

from __future__ import annotations

import fnmatch
from contextlib import suppress
from typing import Any, ClassVar

from msgspec.structs import replace

from paigeant.errors import ConfigurationError, RevisionConflict
from paigeant.model.store import ANY, Entry, Expected, Write, check_key

from ..proxies import ProxyStore
from . import shared


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
        return entry and replace(entry, key=key)

    async def write(self, write: Write) -> int:
        return await super().write(replace(write, key=write.key.lower()))


class SharesNamespaces(shared.SharesNamespaces, ProxyStore):
    pass


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
        return [replace(e, value=b"") for e in await self.inner.scan(prefix, after=after, limit=limit)]


class ScansWhatIsGone(ProxyStore):
    """Its index forgets no deleted or expired entry."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.index: dict[str, Entry] = {}

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        found = await self.inner.scan(prefix, after=after, limit=limit)
        gone = [e for e in self.index.values() if e.key.startswith(prefix) and await self.inner.get(e.key) is None]
        return [*found, *gone][:limit]

    async def write(self, write: Write) -> int:
        revision = await super().write(write)
        self.index[write.key] = Entry(write.key, b"", revision)
        return revision


class MissesMovedDues(ProxyStore):
    """Its index of due times is that of the first put."""

    firsts: ClassVar[dict[tuple[str, str], float]] = {}

    async def write(self, write: Write) -> int:
        revision = await super().write(write)
        if write.due is not None:
            self.firsts.setdefault((self.namespace, write.key), write.due)
        return revision

    async def due(self, before: float, limit: int = 100) -> list[str]:
        listed = await self.inner.due(before, limit)
        return [key for key in listed if self.firsts[self.namespace, key] <= before]


class ListsDueOnce(ProxyStore):
    """Removes from the index what it has listed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
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
