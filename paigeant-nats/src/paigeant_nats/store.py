"""The state store on NATS JetStream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Literal, Self

from paigeant.abc import StateStore, see_through
from paigeant.errors import BackendCorrupt, BackendUnavailable, ConfigurationError, RevisionConflict
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding
from paigeant.model.store import ABSENT, ANY, KEEP, KEY, Entry, Expected, Keep, check_key

from .codec import HEADROOM
from .entries import Entries, Mismatch
from .hints import Hints
from .link import log
from .session import Session
from .settings import NatsSettings
from .values import OVERHEAD, Stored
from .watches import Watches

_POLL = 5.0
_PAUSE = 0.5
_ATTEMPTS = 50


class NatsStore(StateStore):
    """Entries in a stream: one subject per key, the sequence of its last message is the revision.

    :param settings: see ``NatsSettings``.
    :param of: the session of the transport whose store this is; it then follows that transport.
    """

    def __init__(self, settings: NatsSettings, *, of: Session | None = None) -> None:
        self._settings, self._follows = settings, of is not None
        self.namespace = settings.namespace
        self._session = of or Session(settings, queues=False)
        self._entries = Entries(self._session)
        self._hints = Hints(self._session, self._entries)
        self._watches = Watches(self._session)
        self._listening = False

    @classmethod
    def of(cls, session: Session) -> Self:
        """The store that shares the connection of a transport."""
        return cls(session.settings, of=session)

    @property
    def capabilities(self) -> Capabilities:
        """See ``StateStore.capabilities``."""
        return Capabilities(
            durable=True, persistent_queues=True, max_message=self._session.max_payload - HEADROOM - OVERHEAD
        )

    async def connect(self) -> None:
        """See ``StateStore.connect``."""
        if not self._follows:
            await self._session.open()

    async def disconnect(self) -> None:
        """See ``StateStore.disconnect``."""
        if not self._follows:
            self._session.link.check_leaving()
            await see_through(self._disconnect())

    async def _disconnect(self) -> None:
        await self.close()
        await self._session.close()

    async def close(self) -> None:
        """The session is about to be closed."""
        self._listening = False
        await self._hints.close()
        self._watches.forget()

    def clone(self) -> NatsStore:
        """See ``StateStore.clone``."""
        return NatsStore(self._settings)

    async def now(self) -> float:
        """See ``StateStore.now``: the clock of the server."""
        await self._use()
        return await self._session.now()

    async def get(self, key: str) -> Entry | None:
        """See ``StateStore.get``."""
        await self._use()
        return self._entry(key, await self._entries.read(check_key(key)))

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
        await self._use()
        check_key(key)
        if (due is not None and not abs(due) < 1e12) or (ttl is not None and not 0 <= ttl < 1e10):
            raise ConfigurationError(f"key {key!r}: due={due!r} and ttl={ttl!r} must be plain numbers of seconds")
        if value is not KEEP and (expected is ANY or expected is ABSENT or expected > 0):
            sequence = None if expected is ANY else 0 if expected is ABSENT else expected
            with contextlib.suppress(Mismatch):
                return await self._entries.write(key, value, sequence, due, ttl)
        return await self._put_upon(key, value, expected, due, ttl)

    async def _put_upon(
        self, key: str, value: bytes | Literal[Keep.KEEP], expected: Expected, due: float | None, ttl: float | None
    ) -> int:
        """Read first: to keep the value, to write where a deleted one was, or to tell what was found instead."""
        for _ in range(_ATTEMPTS):
            stored = await self._entries.read(key)
            self._expect(key, stored, expected, keep=value is KEEP)
            body = stored.value or b"" if value is KEEP else value
            with contextlib.suppress(Mismatch):
                return await self._entries.write(key, body, stored.revision, due, ttl)
        raise BackendUnavailable(f"key {key!r} is written by too many at once")

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        """See ``StateStore.delete``."""
        await self._use()
        check_key(key)
        for _ in range(_ATTEMPTS):
            stored = await self._entries.read(key)
            self._expect(key, stored, expected)
            if not stored.lives(self._session.clock()):
                return None
            with contextlib.suppress(Mismatch):
                return await self._entries.delete(key, stored.revision)
        raise BackendUnavailable(f"key {key!r} is written by too many at once")

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        """See ``StateStore.scan``. Lists all keys below the last ``/`` of ``prefix``."""
        await self._use()
        names, found = self._session.names, list[Entry]()
        folder = prefix.rpartition("/")[0]
        matching = f"{names.entry(check_key(folder))}.>" if folder else f"{names.prefix}.e.>"
        subjects = await self._session.api.subjects(names.state, matching)
        keys = sorted(  # anyone may publish anything beside them, under any name
            key for key in map(names.key_of, subjects) if key.startswith(prefix) and key > after and KEY.fullmatch(key)
        )
        while keys and len(found) < limit:
            some, keys = keys[: limit - len(found)], keys[limit - len(found) :]
            for key, stored in zip(some, await asyncio.gather(*map(self._read_if_ours, some)), strict=True):
                if stored is not None and (entry := self._entry(key, stored)) is not None:
                    found.append(entry)
        return found

    async def _read_if_ours(self, key: str) -> Stored | None:
        """What a foreigner put among our entries must not hide them."""
        try:
            return await self._entries.read(key)
        except BackendCorrupt as exc:
            log.warning("left out: %s", exc)
            return None

    async def due(self, before: float, limit: int = 100) -> list[str]:
        """See ``StateStore.due``."""
        await self._use()
        return await self._hints.due(before, limit)

    async def watch(self, key: str) -> AsyncGenerator[Entry | None, None]:
        """See ``StateStore.watch``. Waits through an outage."""
        await self._use()
        check_key(key)
        async with self._watches.watching(key) as watcher:
            first, seen, newest = True, None, 0
            while True:
                stored, pause = watcher.take(), _POLL
                try:
                    await self._watches.listen(key)
                    if stored is None or stored.revision < newest:  # what was told may be late
                        stored = await self._entries.read(key)
                except BackendUnavailable:
                    await watcher.wait(_PAUSE)
                    continue
                newest = stored.revision
                entry = self._entry(key, stored)
                if entry is not None and stored.end is not None:
                    pause = min(pause, max(0.01, stored.end - self._session.clock()))
                if first or entry != seen:
                    first, seen = False, entry
                    yield entry
                await watcher.wait(pause)

    async def diagnose(self) -> list[Finding]:
        """See ``StateStore.diagnose``."""
        from .diagnosis import diagnose

        await self._use()
        return await diagnose(self._session)

    async def _use(self) -> None:
        self._session.link.check()
        if self._follows and not self._session.has_state:
            await self._session.ensure_state_stream()
        if not self._listening:
            self._session.link.on_up.append(self._watches.wake)
            self._listening = True

    def _entry(self, key: str, stored: Stored) -> Entry | None:
        if stored.value is None or not stored.lives(self._session.clock()):
            return None
        return Entry(key, stored.value, stored.revision, stored.due)

    def _expect(self, key: str, stored: Stored, expected: Expected, *, keep: bool = False) -> None:
        found = stored.revision if stored.lives(self._session.clock()) else None
        if expected is ANY:
            fits = not keep or found is not None
        elif expected is ABSENT:
            fits = found is None and not keep
        else:
            fits = expected == found
        if not fits:
            raise RevisionConflict(key, expected=expected, found=found)
