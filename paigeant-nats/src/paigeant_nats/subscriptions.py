"""What is listened to: on one connection, and on those that follow it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from .client import HardenedClient

_DRAIN_WITHIN = 2.0

Handler = Callable[[Msg], None]


@dataclass(slots=True, eq=False)
class Subscriber:
    """A subject listened to."""

    subject: str
    handler: Handler
    client: HardenedClient | None = None
    current: Subscription | None = None


class Subscriptions:
    """All subscribers of a link."""

    def __init__(self) -> None:
        self._all: dict[Subscriber, None] = {}

    def add(self, subscriber: Subscriber) -> None:
        """From the next connection on it is told, and from now on with ``attach``."""
        self._all[subscriber] = None

    def clear(self) -> None:
        """Forget all."""
        self._all.clear()

    async def attach(self, client: HardenedClient, subscriber: Subscriber) -> None:
        """Begin on this connection. One that is lost meanwhile is no error: the next begins anew."""
        handler, subscriber.client = subscriber.handler, client

        async def handle(msg: Msg) -> None:
            handler(msg)

        # No limits of the client's own: what is under way is bounded by what we asked for.
        subscribe = cast("Callable[..., Awaitable[Subscription]]", getattr(client, "subscribe"))  # noqa: B009 - half typed
        with contextlib.suppress(nats.errors.Error, OSError):
            subscriber.current = await subscribe(
                subscriber.subject, cb=handle, pending_msgs_limit=0, pending_bytes_limit=0
            )
        if subscriber not in self._all:  # not wanted any more
            await self.remove(subscriber)

    async def attach_all(self, client: HardenedClient) -> None:
        """Begin on a new connection; others may come and go meanwhile."""
        while waiting := [each for each in self._all if each.client is not client]:
            for subscriber in waiting:
                if subscriber in self._all:
                    await self.attach(client, subscriber)

    async def remove(self, subscriber: Subscriber, *, drain: bool = False) -> None:
        """Stop listening.

        :param drain: first let the handler have all that the server had already sent.
        """
        self._all.pop(subscriber, None)
        current, subscriber.current = subscriber.current, None
        if current is None:
            return
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            if drain and subscriber.client is not None and subscriber.client.is_reading:
                async with asyncio.timeout(_DRAIN_WITHIN):
                    drained: Callable[[], Awaitable[None]] = current.drain
                    await drained()
            else:
                await current.unsubscribe()
