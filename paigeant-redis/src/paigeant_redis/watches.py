"""All watchers of a process, told of changes over one connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from redis import exceptions as client

from paigeant.errors import PaigeantError

from .client import Connection, Reply
from .pauses import pauses

if TYPE_CHECKING:
    from .server import Server

_log = logging.getLogger("paigeant.redis")
_PING: Final = 5.0
"""Seconds between signs of life asked of the server."""


class Watch:
    """What one watcher has been told since it last asked."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._data = b""

    def tell(self, data: bytes) -> None:
        """The entry may have changed; ``data`` is the new one, if it is short, as the server keeps it."""
        self._data = data
        self._news.set()

    async def news(self, patience: float) -> bytes:
        """Wait for news, at most ``patience`` seconds; the entry as it was told, or nothing: then read it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._news.wait()
        data, self._data = self._data, b""
        self._news.clear()
        return data


class Watches:
    """Watches by key, told when the entry may have changed.

    One connection serves them all; it is made for the first. What is missed while it is away does not
    matter: every subscription that stands wakes its watchers, who read again.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._watches: dict[str, set[Watch]] = {}
        self._asked: set[str] = set()
        self._standing: set[str] = set()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._outage = pauses()

    @contextlib.contextmanager
    def watching(self, key: str) -> Generator[Watch]:
        """A watch that is told once the subscription stands, and of each change."""
        watch = Watch()
        self._watches.setdefault(key, set()).add(watch)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="paigeant redis watches")
        if key in self._standing:
            watch.tell(b"")
        self._wanted.set()
        try:
            yield watch
        finally:
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]
                self._wanted.set()

    async def close(self) -> None:
        """Stop, and wake all, who will find the store closed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        for key in list(self._watches):
            self._tell(key, b"")

    def _tell(self, key: str, data: bytes) -> None:
        for watch in self._watches.get(key, ()):
            watch.tell(data)

    async def _run(self) -> None:
        while True:
            try:
                connection = await self._server.dialer.dial()
                try:
                    await self._serve(connection)
                finally:
                    self._asked, self._standing = set(), set()
                    await connection.disconnect(nowait=True)
            except (PaigeantError, client.RedisError, OSError) as exc:
                pause = next(self._outage)
                _log.warning("changes of entries are not heard of; connecting again in %.2g s: %s", pause, exc)
                await asyncio.sleep(pause)

    async def _serve(self, connection: Connection) -> None:
        asking = asyncio.create_task(self._subscribe(connection))
        try:
            await self._listen(connection)
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            if not asking.cancelled():
                asking.exception()  # it could not send: the listener has noticed, too

    async def _subscribe(self, connection: Connection) -> None:
        """Keep the subscriptions equal to what is watched."""
        sharded = "S" if self._server.sharded else ""
        while True:
            self._wanted.clear()
            wanted = set(self._watches)
            more, fewer = wanted - self._asked, self._asked - wanted
            self._asked = wanted
            self._standing &= wanted
            for verb, keys in (("SUBSCRIBE", more), ("UNSUBSCRIBE", fewer)):
                if keys:
                    await connection.send_command(sharded + verb, *map(self._channel, keys))
            if not more and not fewer:  # whatever woke us: something must be heard, or the listener gives up
                await connection.send_command("PING")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING):
                    await self._wanted.wait()

    def _channel(self, key: str) -> str:
        return f"{self._server.prefix}:w:{key}"

    async def _listen(self, connection: Connection) -> None:
        while True:
            async with asyncio.timeout(_PING + self._server.settings.timeout):
                told: Reply = await connection.read_response(disable_decoding=True)
            match told:
                case [b"message" | b"smessage", bytes(channel), bytes(data)]:
                    self._tell(self._key(channel), data)
                case [b"subscribe" | b"ssubscribe", bytes(channel), _]:
                    key = self._key(channel)
                    self._standing.add(key)
                    self._outage = pauses()  # over; a mere login is no sign of that, subscribing may be what is refused
                    self._tell(key, b"")
                case [b"sunsubscribe", bytes(channel), _]:  # unasked, if the slot has moved to another node
                    self._asked.discard(self._key(channel))  # asked again, this node tells where to
                    self._wanted.set()
                case _:
                    pass  # a sign of life

    def _key(self, channel: bytes) -> str:
        return channel.decode("utf-8", "replace")[len(self._channel("")) :]
