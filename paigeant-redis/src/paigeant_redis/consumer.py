"""Receiving: claims that wait, and deliveries that are settled or released."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Final

from paigeant.abc import Consumer, Delivery, check_limit, see_through
from paigeant.errors import BackendClosed, BackendError, BackendUnavailable, OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

from .client import Argument, Reply
from .layout import Lease, read_message, release_operation, undo_operation
from .pauses import pauses
from .server import Server
from .wire import Wire

_log = logging.getLogger("paigeant.redis")
LOOK: Final = 1.0
"""Seconds after which a consumer looks by itself, should no bell have rung."""
_MOST: Final = 32
"""Most messages of one claim: while one portion is being worked on, the next is claimed and the last is settled."""


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
        await self._server.change(publications, writes, self._lease, len(self.message.body))

    async def release(self, delay: float = 0.0) -> None:
        """See ``Delivery.release``."""
        self._server.check()
        await self._server.perform(release_operation(self._lease, delay))


class RedisConsumer(Consumer):
    """Claims for one ``consume`` context, under a name that nobody had before and on a connection of its own.

    Who finds nothing waits on the doorbells of its queues: a blocking pop, followed on the same connection by
    the next claim, which the server runs the moment the bell rings. The pop itself receives nothing, so a ring
    that is lost costs the others their next look at most.
    """

    def __init__(self, server: Server, queues: Sequence[str], lease: float, expires: float | None) -> None:
        self.name = secrets.token_hex(8)
        self.queues, self.expires = queues, expires
        self._server = server
        self._wire = Wire(server.dialer, server.settings.timeout)
        self._how: tuple[Argument, ...] = (repr(lease * 1000), "" if expires is None else "r")
        self._turns = [[*queues[i:], *queues[:i]] for i in range(len(queues))]
        self._turn = 0
        prefix = server.prefix
        self._bells = [*(f"{prefix}:b:{queue}" for queue in queues), f"{prefix}:u:{self.name}"]
        self._claims: set[asyncio.Task[list[Reply]]] = set()
        self._waking = asyncio.Event()

    async def receive(self, limit: int) -> list[Delivery]:
        """See ``Consumer.receive``; waits through an outage."""
        check_limit(limit)
        wait, outage = 0.0, pauses()
        while True:
            self._check()
            try:
                soon, *found = await self._claim(min(limit, _MOST), wait)
                if found:
                    return self._deliveries(found)
                wait, outage = LOOK if soon < 0 else max(0.001, min(LOOK, soon / 1000)), pauses()
            except (BackendUnavailable, OutcomeUnknown) as exc:
                self._check()
                wait, pause = 0.0, next(outage)
                _log.warning("nothing can be received; trying again in %.2g s: %s", pause, exc)
                await self._rest(pause)

    async def close(self) -> None:
        """Stop receiving. What was not settled keeps its lease."""
        self._waking.set()
        while self._claims:
            await self._nudge()
            if claims := set(self._claims):
                await asyncio.wait(claims)
        await self._wire.close()

    def _check(self) -> None:
        if self._waking.is_set():
            raise BackendClosed("the consumer was closed: open another with consume()")
        self._server.check()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._waking.wait()
        except TimeoutError:
            return

    async def _claim(self, limit: int, wait: float) -> list[Reply]:
        """Claim in a task of its own: if we are cancelled, it must be seen through and undone."""
        abandoned = asyncio.Event()
        task = asyncio.create_task(self._perform(limit, wait, abandoned))
        self._claims.add(task)
        task.add_done_callback(self._claims.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            abandoned.set()
            if isinstance(exc := await see_through(self._give_up(task)), BackendError):
                _log.info("a claim that was cancelled keeps its leases until they end: %s", exc)
            raise

    async def _perform(self, limit: int, wait: float, abandoned: asyncio.Event) -> list[Reply]:
        """Wait for a ring, if at all, and claim; undo it if nobody wants it any more."""
        queues = self._turns[self._turn]
        self._turn = (self._turn + 1) % len(self._turns)
        after: tuple[Argument, ...] = ("BLPOP", *self._bells, wait) if wait else ()
        server = self._server
        found: list[Reply] = await server.scripts.claim.run(
            self._wire, server.prefix, self.name, limit, *self._how, *queues, after=after, patience=wait
        )
        if abandoned.is_set() or self._waking.is_set():
            await self._undo(found)
            return found[:1]
        return found

    async def _give_up(self, task: asyncio.Task[list[Reply]]) -> None:
        if task.done():
            await self._undo(task.result())
        else:
            await self._nudge()
            await task

    async def _undo(self, found: list[Reply]) -> None:
        claimed = zip(found[1::3], found[2::3], strict=True)
        operations = [undo_operation(queue, member) for queue, member in claimed]
        await asyncio.gather(*map(self._server.perform, operations), return_exceptions=True)

    async def _nudge(self) -> None:
        """End the waiting of a claim."""
        try:
            await self._server.run(self._server.scripts.queues, "nudge", self.name)
        except BackendError as exc:
            _log.info("a consumer that stops may wait for its server a little longer: %s", exc)

    def _deliveries(self, found: list[bytes]) -> list[Delivery]:
        server = self._server
        parts = iter(found)
        return [
            RedisDelivery(server, queue.decode(), lease.decode(), read_message(lease.partition(b" ")[0], data))
            for queue, lease, data in zip(parts, parts, parts, strict=True)
        ]
