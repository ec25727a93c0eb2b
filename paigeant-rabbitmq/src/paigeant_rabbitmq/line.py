"""One open connection and its channels."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import aio_pika
from aiormq.abc import AbstractChannel, AbstractConnection

from . import errors
from .settings import Address
from .sinks import Sink
from .wire import Wire

_MOST_CHANNELS = 65_535
_GOODBYE = 2.0
"""Seconds that the broker has to answer when a connection is closed."""
_SHUT = 1.0
"""Seconds to wait for the end of a channel."""


def closing_of(subject: AbstractChannel | AbstractConnection) -> asyncio.Future[Any]:
    """Done with the reason when a channel or connection is closed. An observer of its own for each call."""
    observer: asyncio.Future[Any] = getattr(subject, "closing")  # noqa: B009 - its type is incomplete there
    return observer


class Line:
    """One open connection, until it is lost.

    :ivar running: calls that nobody may cancel; they end with the connection.
    """

    def __init__(self, connection: aio_pika.Connection, wire: Wire, address: Address) -> None:
        self._connection, self.wire, self.address = connection, wire, address
        self._number = 0
        self.running: set[asyncio.Task[Any]] = set()
        assert connection.transport is not None
        self._under = connection.transport.connection
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        closing_of(self._under).add_done_callback(self._on_closing)
        wire.on_lost = self._on_lost

    @property
    def server(self) -> dict[str, Any]:
        """What the broker says of itself: ``version``, ``product``, ``cluster_name``."""
        return dict(self._under.server_properties)

    @property
    def version(self) -> tuple[int, ...]:
        """Of the broker, as numbers; empty if it has none that can be read."""
        found = re.match(r"(\d+)\.(\d+)", str(self.server.get("version", "")))
        return tuple(map(int, found.groups())) if found else ()

    @property
    def frame_max(self) -> int:
        return int(self._under.connection_tune.frame_max) or 131_072

    @property
    def alive(self) -> bool:
        return not self.lost.done() and not self.wire.lost

    async def channel(self, sink: Sink | None = None, *, confirms: bool = False) -> AbstractChannel:
        """A new channel; with a sink, its messages and confirms go there, until it is closed.

        :raises ConnectionError: the connection was lost meanwhile.
        """
        channel = await self._under.channel(self._free_number(), publisher_confirms=confirms)
        if sink is not None:
            self.wire.adopt(channel.number, sink)
            closing_of(channel).add_done_callback(lambda _: self.wire.sinks.abandon(channel.number, sink))
        return channel

    async def shut(self, channel: AbstractChannel) -> None:
        """Close a channel; whoever is cancelled meanwhile leaves it to itself.

        The library answers a cancelled close with a second one, and the broker answers that by ending the connection.
        """
        task = asyncio.ensure_future(_closed(channel))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        await asyncio.wait([task], timeout=_SHUT)

    def _free_number(self) -> int:
        """The library would take the one that was freed last, before the broker is told that it is free."""
        most = self._under.connection_tune.channel_max or _MOST_CHANNELS
        for _ in range(most):
            self._number = self._number % most + 1
            if self._number not in self._under.channels:
                break
        return self._number

    async def close(self) -> None:
        """Say goodbye, or cut it."""
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._connection.close()
        except errors.TRANSIENT:
            pass  # it is gone already
        finally:
            self.wire.abort()
            if self.running:
                await asyncio.wait(self.running, timeout=_GOODBYE)

    def _on_closing(self, closing: asyncio.Future[Any]) -> None:
        self._on_lost(None if closing.cancelled() else closing.exception())

    def _on_lost(self, exc: BaseException | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)


async def _closed(channel: AbstractChannel) -> None:
    with contextlib.suppress(*errors.TRANSIENT):  # closed by the broker already, or with the connection
        await channel.close(None)
