"""Entries in Redis."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Final, Literal, Self

from paigeant.abc import StateStore
from paigeant.errors import BackendCorrupt
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding
from paigeant.model.store import ANY, Entry, Expected, Keep, Write, check_key

from .client import Reply
from .layout import delete_operation, read_entry
from .link import Link
from .settings import RedisSettings

_log = logging.getLogger("paigeant.redis")
_LOOK: Final = 2.0
"""Seconds after which a watcher looks by itself: the end of a ttl is told by nobody."""
_PAGE: Final = 500


class RedisStore(StateStore):
    """Entries of a namespace on one Redis or Valkey.

    :param settings: where the server is, and how to reach it.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._attach(Link(settings), owner=True)

    @classmethod
    def of(cls, link: Link) -> Self:
        """The store of a transport: it follows the transport's connection."""
        store = cls.__new__(cls)
        store._attach(link, owner=False)
        return store

    def _attach(self, link: Link, *, owner: bool) -> None:
        self.namespace = link.settings.namespace
        self._link, self._owner = link, owner

    @property
    def capabilities(self) -> Capabilities:
        """See ``StateStore.capabilities``."""
        return self._link.capabilities

    async def connect(self) -> None:
        """See ``StateStore.connect``."""
        if self._owner:
            await self._link.connect()
        else:
            self._link.server()

    async def disconnect(self) -> None:
        """See ``StateStore.disconnect``."""
        if self._owner:
            await self._link.disconnect()

    def clone(self) -> RedisStore:
        """See ``StateStore.clone``."""
        return RedisStore(self._link.settings)

    async def now(self) -> float:
        """See ``StateStore.now``."""
        return await self._link.server().now()

    async def get(self, key: str) -> Entry | None:
        """See ``StateStore.get``."""
        return await self._link.server().get(check_key(key))

    async def put(
        self,
        key: str,
        value: bytes | Literal[Keep.KEEP],
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        """See ``StateStore.put``."""
        (revision,) = await self._link.server().change((), (Write(key, value, expected, due, ttl),))
        return revision

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        """See ``StateStore.delete``."""
        await self._link.server().perform(delete_operation(key, expected), expected)

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        """See ``StateStore.scan``."""
        server = self._link.server()
        found: list[Entry] = []
        while len(found) < limit:
            page = min(limit - len(found), _PAGE)
            last, *rows = await server.run(server.scripts.entries, "scan", prefix, after, page)
            for key, data in zip(rows[::2], rows[1::2], strict=True):
                try:
                    found.append(read_entry(key.decode(), data, server.where))
                except BackendCorrupt as exc:
                    _log.warning("left out: %s", exc)
            if not last:
                break
            after = last.decode()
        return found

    async def due(self, before: float, limit: int = 100) -> list[str]:
        """See ``StateStore.due``."""
        server = self._link.server()
        keys: Reply = await server.run(server.scripts.entries, "due", repr(float(before)), limit)
        return [key.decode() for key in keys]

    async def watch(self, key: str) -> AsyncGenerator[Entry | None, None]:
        """See ``StateStore.watch``."""
        server = self._link.server()
        with server.watches.watching(check_key(key)) as watch:
            seen = entry = await self.get(key)
            yield entry
            while True:
                told = _told(key, await watch.news(_LOOK), seen)
                if (entry := told or await self.get(key)) != seen:
                    seen = entry
                    yield entry

    async def diagnose(self) -> list[Finding]:
        """See ``StateStore.diagnose``."""
        from .diagnosis import diagnose

        return await diagnose(self._link.server())


def _told(key: str, data: bytes, seen: Entry | None) -> Entry | None:
    """The entry that came with the news, or what was seen if that is newer; ``None``: it must be read."""
    if not data or seen is None:
        return None
    try:
        told = read_entry(key, data, "")
    except BackendCorrupt:  # anyone may publish
        return None
    return told if told.revision > seen.revision else seen
