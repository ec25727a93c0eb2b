"""Watchers of keys. The server tells of each change, once stored, on a subject of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from nats.aio.msg import Msg

from paigeant.errors import BackendUnavailable

from .link import Subscriber
from .session import Session


class Watches:
    """One subscription per watched key, however many watch it; only its own changes come over the wire."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._events: dict[str, set[asyncio.Event]] = {}
        self._subscribers: dict[str, Subscriber] = {}

    @contextlib.asynccontextmanager
    async def watching(self, key: str) -> AsyncGenerator[asyncio.Event]:
        """Register; read the entry after that, then wait for the event."""
        event = asyncio.Event()
        self._events.setdefault(key, set()).add(event)
        try:
            await self.listen(key)
            yield event
        finally:
            events = self._events[key]
            events.discard(event)
            if not events:
                del self._events[key]
                subscriber = self._subscribers.pop(key, None)
                if subscriber is not None:
                    await self._session.link.unsubscribe(subscriber)

    async def listen(self, key: str) -> None:
        """Subscribe to a key, unless done or out of reach."""
        if key in self._subscribers:
            return

        def changed(_: Msg) -> None:
            for event in self._events.get(key, ()):
                event.set()

        with contextlib.suppress(BackendUnavailable):
            self._subscribers[key] = await self._session.link.subscribe(self._session.names.change(key), changed)

    def wake(self) -> None:
        """Something may have been missed, or it is over: let everyone look."""
        for events in self._events.values():
            for event in events:
                event.set()

    def forget(self) -> None:
        """The connection is closed, and with it all subscriptions."""
        self._subscribers.clear()
        self.wake()
