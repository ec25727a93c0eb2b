"""Watchers of keys. The server tells of each change, once stored, on a subject of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from nats.aio.msg import Msg

from paigeant.errors import BackendCorrupt

from .session import Session
from .subscriptions import Subscriber
from .values import Stored, decode


class Watcher:
    """What one watcher was told and has not looked at yet."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._told: Stored | None = None

    def tell(self, stored: Stored | None) -> None:
        """A change; ``None``: perhaps one, read it."""
        if stored is None or self._told is None or stored.revision > self._told.revision:
            self._told = stored
        self._news.set()

    def take(self) -> Stored | None:
        """The latest change, once."""
        told, self._told = self._told, None
        self._news.clear()
        return told

    async def wait(self, patience: float) -> None:
        """Return when told, or after that many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._news.wait()


class Watches:
    """One subscription per watched key, however many watch it; only its own changes come over the wire."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watchers: dict[str, set[Watcher]] = {}
        self._subscribers: dict[str, Subscriber] = {}

    @contextlib.asynccontextmanager
    async def watching(self, key: str) -> AsyncGenerator[Watcher]:
        """Register; read the entry after that."""
        watcher = Watcher()
        self._watchers.setdefault(key, set()).add(watcher)
        try:
            await self.listen(key)
            yield watcher
        finally:
            watchers = self._watchers[key]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[key]
                subscriber = self._subscribers.pop(key, None)
                if subscriber is not None:
                    await self._session.link.unsubscribe(subscriber)

    async def listen(self, key: str) -> None:
        """Subscribe to a key, unless done."""
        if key in self._subscribers:
            return

        def changed(msg: Msg) -> None:
            stored = _read(msg, key)
            for watcher in self._watchers.get(key, ()):
                watcher.tell(stored)

        subscriber = self._subscribers[key] = Subscriber(self._session.names.change(key), changed)
        await self._session.link.listen(subscriber)

    def wake(self) -> None:
        """Something may have been missed, or it is over: let everyone look."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.tell(None)

    def forget(self) -> None:
        """The connection is closed, and with it all subscriptions."""
        self._subscribers.clear()
        self.wake()


def _read(msg: Msg, key: str) -> Stored | None:
    """Anyone may send to this subject: what is no entry makes the watcher read the real one."""
    sequence = (msg.headers or {}).get("Nats-Sequence", "")
    if not (sequence.isascii() and sequence.isdigit()) or len(sequence) > 18:
        return None
    try:
        return decode(msg.data, int(sequence), key)
    except BackendCorrupt:
        return None
