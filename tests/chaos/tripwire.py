"""A transport and a store that do something terrible at one chosen point of one chosen hop."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from paigeant.abc import Consumer, Delivery, StateStore, Transport
from paigeant.errors import BackendUnavailable, OutcomeUnknown
from paigeant.model.capabilities import Capabilities
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import ANY, Entry, Expected, Write
from paigeant.state.cursor import Cursor, State

T = TypeVar("T")

POINTS = {
    "shared": ["receive", "read", "commit"],
    "separate": ["receive", "read", "claim", "acknowledge", "commit", "publish"],
    "none": ["receive", "commit"],
}
"""What a worker asks of the backend in one hop, in order, by mode."""


def kill() -> None:
    """The end of this process, at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    """Suspended, until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def unavailable() -> None:
    raise BackendUnavailable("tripped: nothing happened")


def unknown() -> None:
    raise OutcomeUnknown("tripped: it may have happened")


class Tripwire:
    """Does ``act`` before or after the first ``point`` of hop ``hop``; once.

    Hops are counted by what is received, so it is meant for one workflow in one worker.
    """

    def __init__(self, point: str, when: str, hop: int, act: Callable[[], None]) -> None:
        self.point, self.when, self.hop, self.act = point, when, hop, act
        self.at = -1
        self.tripped = False

    async def around(self, point: str, call: Callable[[], Awaitable[T]], *, hop: int | None = None) -> T:
        self.trip(point, "before", hop)
        result = await call()
        self.trip(point, "after", hop)
        return result

    def trip(self, point: str, when: str, hop: int | None) -> None:
        here = (point, when, self.at if hop is None else hop)
        if not self.tripped and here == (self.point, self.when, self.hop):
            self.tripped = True
            self.act()


class Poison(Tripwire):
    """Kills this process in every run of the step ``hop``."""

    def __init__(self, hop: int) -> None:
        super().__init__("step", "before", hop, kill)

    def trip(self, point: str, when: str, hop: int | None) -> None:
        if point == "step" and hop == self.hop:
            self.act()


class WiredTransport(Transport):
    """Passes everything on to ``inner``, through the wire."""

    def __init__(self, inner: Transport, wire: Tripwire) -> None:
        self.inner, self.wire = inner, wire
        self.namespace, self.data_directory = inner.namespace, inner.data_directory
        self.scope = inner.scope  # type: ignore[misc]

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def connect(self) -> None:
        await self.inner.connect()

    async def disconnect(self) -> None:
        await self.inner.disconnect()

    def clone(self) -> Any:
        return self.inner.clone()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.wire.around("publish", lambda: self.inner.publish(*publications, writes=writes))

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncIterator[Consumer]:
        async with self.inner.consume(queues, lease=lease) as consumer:
            yield WiredConsumer(consumer, self.wire)

    async def renew(self, tokens: Collection[str]) -> set[str]:
        return await self.inner.renew(tokens)

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        return await self.inner.queues(*names)

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        return await self.inner.peek(queue, limit)

    async def purge(self, queue: str) -> int:
        return await self.inner.purge(queue)

    def state_store(self) -> StateStore | None:
        inner = self.inner.state_store()
        return None if inner is None else WiredStore(inner, self.wire)


class WiredConsumer(Consumer):
    def __init__(self, inner: Consumer, wire: Tripwire) -> None:
        self.inner, self.wire = inner, wire

    async def receive(self, limit: int) -> list[Delivery]:
        if self.wire.when == "before":
            self.wire.trip("receive", "before", self.wire.at + 1)
        deliveries = await self.inner.receive(limit)
        self.wire.at += 1
        self.wire.trip("receive", "after", None)
        return [WiredDelivery(delivery, self.wire) for delivery in deliveries]


class WiredDelivery(Delivery):
    def __init__(self, inner: Delivery, wire: Tripwire) -> None:
        self.inner, self.wire = inner, wire
        self.queue, self.message = inner.queue, inner.message
        self.deliveries, self.lease_token = inner.deliveries, inner.lease_token

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        point = "commit" if writes or publications else "acknowledge"
        await self.wire.around(point, lambda: self.inner.settle(*publications, writes=writes))

    async def release(self, delay: float = 0.0) -> None:
        await self.inner.release(delay)


class WiredStore(StateStore):
    def __init__(self, inner: StateStore, wire: Tripwire) -> None:
        self.inner, self.wire, self.namespace = inner, wire, inner.namespace

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def connect(self) -> None:
        await self.inner.connect()

    async def disconnect(self) -> None:
        await self.inner.disconnect()

    def clone(self) -> StateStore:
        return self.inner.clone()

    async def now(self) -> float:
        return await self.inner.now()

    async def get(self, key: str) -> Entry | None:
        point = "read" if key.startswith("run/") else "other"
        return await self.wire.around(point, lambda: self.inner.get(key))

    async def put(
        self, key: str, value: Any, *, expected: Expected = ANY, due: float | None = None, ttl: float | None = None
    ) -> int:
        point, hop = _meaning(key, value)
        return await self.wire.around(
            point, lambda: self.inner.put(key, value, expected=expected, due=due, ttl=ttl), hop=hop
        )

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        await self.inner.delete(key, expected=expected)

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        return await self.inner.scan(prefix, after=after, limit=limit)

    async def due(self, before: float, limit: int = 100) -> list[str]:
        return await self.inner.due(before, limit)


def _meaning(key: str, value: Any) -> tuple[str, int | None]:
    if not key.startswith("run/") or not isinstance(value, bytes):
        return "other", None
    cursor = Cursor.decode(value)
    if cursor.state is State.RUNNING:
        return "claim", cursor.seq
    return "commit", cursor.seq - 1
