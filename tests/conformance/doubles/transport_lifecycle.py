"""Transports that connect, disconnect or end badly, with one deliberate fault each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from paigeant.abc import Consumer, Delivery
from paigeant.errors import BackendClosed
from paigeant.model.message import Publication
from paigeant.model.store import Write

from ..proxies import ProxyTransport
from . import shared


class CountsConnects(shared.CountsConnects, ProxyTransport):
    pass


class ConnectsOnce(shared.ConnectsOnce, ProxyTransport):
    pass


class ConnectsItself(ProxyTransport):
    """Connects on first use."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.connect()
        await self.inner.publish(*publications, writes=writes)


class StaysOpen(ProxyTransport):
    """``async with`` forgets to disconnect."""

    async def __aexit__(self, *exc: object) -> None:
        pass


class LeavesReceiversWaiting(ProxyTransport):
    """Disconnect does not wake who waits."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        try:
            return await consumer.receive(limit)
        except BackendClosed:
            await asyncio.Event().wait()
            raise


class ConnectsLate(ProxyTransport):
    """A disconnect in the meantime changes nothing."""

    async def connect(self) -> None:
        await asyncio.sleep(shared.SOON)
        await super().connect()


class LooksUpOnce(ProxyTransport):
    """Notices a disconnect while it dials, and none afterwards."""

    disconnects = 0

    async def connect(self) -> None:
        before = self.disconnects
        await asyncio.sleep(shared.SOON)
        if self.disconnects != before:
            raise BackendClosed("disconnected")
        await asyncio.sleep(shared.SOON)
        await super().connect()

    async def disconnect(self) -> None:
        self.disconnects += 1
        await super().disconnect()


class LeavesConnectsWaiting(ProxyTransport):
    """Disconnect does not wake who connects."""

    disconnects = 0

    async def connect(self) -> None:
        before = self.disconnects
        await asyncio.sleep(shared.SOON)
        if self.disconnects != before:
            await asyncio.Event().wait()
        await super().connect()

    async def disconnect(self) -> None:
        self.disconnects += 1
        await super().disconnect()


class TearsConnect(ProxyTransport):
    """A connect cancelled half-way leaves the instance in between."""

    half = False

    async def connect(self) -> None:
        if self.half:
            raise RuntimeError("connecting")
        self.half = True
        await asyncio.sleep(0)
        await self.inner.connect()
        self.half = False


class LeaksDriverErrors(shared.LeaksDriverErrors, ProxyTransport):
    pass


class KeepsCancelledConsumers(ProxyTransport):
    """A consumer cancelled while it waits goes on receiving."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.tasks: set[asyncio.Task[list[Delivery]]] = set()

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        try:
            return await consumer.receive(limit)
        except asyncio.CancelledError:
            own = self.inner.consume(["work"], lease=60.0)
            task = asyncio.create_task((await own.__aenter__()).receive(limit))
            self.tasks.add(task)
            raise

    async def disconnect(self) -> None:
        for task in self.tasks:
            task.cancel()
        await super().disconnect()
