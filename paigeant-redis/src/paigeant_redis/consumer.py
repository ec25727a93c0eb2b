"""Receiving: claims that wait, and deliveries that are settled or released."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Sequence
from typing import Final

from paigeant.abc import Consumer, Delivery
from paigeant.errors import BackendClosed, BackendError, BackendUnavailable, ConfigurationError, OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

from .bell import Bell
from .client import Reply
from .layout import Lease, read_message, release_operation, undo_operation
from .server import Server
from .wire import Wire

_log = logging.getLogger("paigeant.redis")
LOOK: Final = 1.0
"""Seconds after which a consumer looks by itself, should no bell have rung."""
_MOST: Final = 1000
"""Most messages of one claim."""
_PAUSES: Final = 0.05, 2.0
"""Seconds between attempts while the server is away: the first and the longest."""


class RedisDelivery(Delivery):
    """One claim of a message."""

    __slots__ = ("_lease", "_server", "deliveries", "lease_token", "message", "queue")

    def __init__(self, server: Server, queue: str, member: str, message: Message) -> None:
        self._server, self._lease = server, Lease(queue, member)
        self.queue, self.message = queue, message
        self.deliveries = self._lease.deliveries
        self.lease_token = self._lease.token

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Delivery.settle``."""
        self._server.check()
        await self._server.change(publications, writes, self._lease)

    async def release(self, delay: float = 0.0) -> None:
        """See ``Delivery.release``."""
        self._server.check()
        await self._server.perform(release_operation(self._lease, delay))


class RedisConsumer(Consumer):
    """Claims for one ``consume`` context, under a name that nobody had before."""

    def __init__(self, server: Server, queues: Sequence[str], lease: float, expires: float | None) -> None:
        self.name = secrets.token_hex(8)
        self.queues, self.expires = queues, expires
        self._server = server
        self._lease = lease * 1000
        self._turns = [[*queues[i:], *queues[:i]] for i in range(len(queues))]
        self._turn = 0
        self._bell = Bell(
            Wire(server.dialer, server.settings.timeout), [f"{server.prefix}:b:{queue}" for queue in queues]
        )
        self._claims: set[asyncio.Task[list[Reply]]] = set()
        self._closed = asyncio.Event()

    async def receive(self, limit: int) -> list[Delivery]:
        """See ``Consumer.receive``; waits through an outage."""
        if limit < 1:
            raise ConfigurationError(f"receive needs a limit of at least 1, not {limit!r}")
        pause, longest = _PAUSES
        while True:
            self._check()
            try:
                wait, *found = await self._claim(min(limit, _MOST))
                if found and not self._closed.is_set():
                    return self._deliveries(found)
                await self._unless_closed(self._bell.wait(LOOK if wait < 0 else min(LOOK, wait / 1000)))
                pause = _PAUSES[0]
            except (BackendUnavailable, OutcomeUnknown) as exc:
                self._check()
                _log.warning("nothing can be received; trying again in %.2g s: %s", pause, exc)
                await self._unless_closed(asyncio.sleep(pause * (0.5 + random.random() / 2)))
                pause = min(pause * 2, longest)

    async def close(self) -> None:
        """Stop receiving. What was not settled keeps its lease."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._claims:
            await asyncio.wait(set(self._claims))
        await self._bell.close()

    def _check(self) -> None:
        if self._closed.is_set():
            raise BackendClosed("the consumer was closed: open another with consume()")
        self._server.check()

    async def _unless_closed(self, waiting: Awaitable[None]) -> None:
        """Wait, at most until the consumer is closed."""
        tasks = asyncio.ensure_future(waiting), asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                await tasks[0]
        finally:
            for task in tasks:
                task.cancel()

    async def _claim(self, limit: int) -> list[Reply]:
        """Claim in a task of its own: one under way when we are cancelled must be seen through and undone."""
        queues = self._turns[self._turn]
        self._turn = (self._turn + 1) % len(self._turns)
        kind = "" if self.expires is None else "r"
        server = self._server
        task = asyncio.ensure_future(server.run(server.scripts.claim, self.name, limit, self._lease, kind, *queues))
        self._claims.add(task)
        task.add_done_callback(self._claims.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await _see_through(self._undo(task))
            raise

    async def _undo(self, task: asyncio.Task[list[Reply]]) -> None:
        _, *found = await task
        operations = [undo_operation(queue, member) for queue, member in zip(found[::3], found[1::3], strict=True)]
        await asyncio.gather(*map(self._server.perform, operations), return_exceptions=True)

    def _deliveries(self, found: list[bytes]) -> list[Delivery]:
        server = self._server
        parts = iter(found)
        return [
            RedisDelivery(server, queue.decode(), lease.decode(), read_message(lease, data))
            for queue, lease, data in zip(parts, parts, parts, strict=True)
        ]


async def _see_through(work: Awaitable[object]) -> None:
    """Await ``work`` to its end, although we may be cancelled again meanwhile. Its failure is not ours."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    if not task.cancelled() and isinstance(exc := task.exception(), BackendError):
        _log.info("a claim that was cancelled keeps its leases until they end: %s", exc)
