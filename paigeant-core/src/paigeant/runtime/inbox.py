"""Where outcomes arrive when there is no store: one reply queue for each transport instance (EIP "Return Address").

Who dispatches and who waits share the instance, so they share the address. One consumer serves any
number of workflows (EIP "Correlation Identifier").
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from ..envelope.opening import Opened, open_envelope
from ..errors import BackendClosed, BackendError, SecurityError
from ..model.message import Message
from .outcome import proven_status

if TYPE_CHECKING:
    from ..abc import Consumer, Delivery, Transport
    from .environment import Environment

log = logging.getLogger("paigeant.runtime")

BATCH = 100
LEASE = 30.0
EXPIRES = 3600.0
"""Seconds after which the queue of a vanished process may go."""
SETTLE_WITHIN = 3.0
KEPT = 32 * 1024 * 1024
"""Bytes of messages whose outcomes are kept for whoever asks later; then the oldest give way."""

_inboxes: weakref.WeakKeyDictionary[Transport, Inbox] = weakref.WeakKeyDictionary()


class Inbox:
    """The outcomes that came to one address: kept, so that several may ask, and again."""

    def __init__(self) -> None:
        self.queue = f"reply.{secrets.token_hex(16)}"
        self._kept: dict[str, Opened] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._waiting: dict[str, set[asyncio.Future[Opened]]] = {}
        self._members = 0
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def of(transport: Transport) -> Inbox:
        """The inbox of a transport instance."""
        return _inboxes.setdefault(transport, Inbox())

    def join(self, env: Environment) -> None:
        """Receive, until as many have left as have joined."""
        self._members += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(env), name="paigeant inbox")

    async def leave(self) -> None:
        self._members -= 1
        if self._members == 0 and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])

    async def wait(self, workflow: str) -> Opened:
        """The final envelope of a workflow, verified.

        :raises BackendClosed: the transport was disconnected meanwhile.
        """
        if workflow in self._kept:
            return self._kept[workflow]
        future: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(workflow, set())
        waiting.add(future)
        try:
            return await future
        finally:
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(workflow, None)

    async def _run(self, env: Environment) -> None:
        while True:
            try:
                async with env.transport.consume([self.queue], lease=LEASE, expires=EXPIRES) as consumer:
                    await self._receive(env, consumer)
            except BackendClosed as exc:
                return self._fail(exc)
            except BackendError as exc:
                log.warning("outcomes cannot be received: %s; trying again", exc)
                await env.clock.sleep(1.0)
            except Exception as exc:
                self._fail(exc)
                raise

    def _fail(self, exc: Exception) -> None:
        for future in [future for waiting in self._waiting.values() for future in waiting if not future.done()]:
            future.set_exception(exc)

    async def _receive(self, env: Environment, consumer: Consumer) -> None:
        while True:
            deliveries = await consumer.receive(BATCH)
            for delivery in deliveries:
                await self._take(env, delivery)
            settling = asyncio.ensure_future(_settle(deliveries))
            try:
                await asyncio.shield(settling)
            except asyncio.CancelledError:
                await asyncio.wait([settling], timeout=SETTLE_WITHIN)  # who was told leaves nothing behind
                raise

    async def _take(self, env: Environment, delivery: Delivery) -> None:
        """Anyone can write to a queue: only a verified envelope that has ended, sent to this address, counts."""
        try:
            opened = await _open(env, delivery.message)
        except SecurityError as exc:
            log.warning("a message in the reply queue is dropped: %s: %s", type(exc).__name__, exc)
            return
        origin = opened.slip.origin
        if origin.reply_to != self.queue or not proven_status(opened, env.now()):
            log.warning("a message in the reply queue proves no outcome of workflow %s; it is dropped", origin.wf)
            return
        self._keep(origin.wf, opened, len(delivery.message.body))
        for future in self._waiting.get(origin.wf, ()):
            if not future.done():
                future.set_result(opened)

    def _keep(self, workflow: str, opened: Opened, size: int) -> None:
        if workflow in self._kept:
            return
        self._kept[workflow] = opened
        self._sizes[workflow] = size
        self._size += size
        while self._size > KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._size -= self._sizes.pop(oldest)
            log.warning(
                "the outcome of workflow %s is forgotten: nobody asked for it in time, and without a state store it "
                "is kept in memory only; configure one (PAIGEANT_STATE_STORE), or ask sooner",
                oldest,
            )


async def _settle(deliveries: list[Delivery]) -> None:
    settled = await asyncio.gather(*(delivery.settle() for delivery in deliveries), return_exceptions=True)
    for error in settled:
        if isinstance(error, BackendError):
            log.info("an outcome could not be settled (%s); it may come again", error)
        elif error is not None:
            raise error


async def _open(env: Environment, message: Message) -> Opened:
    return await open_envelope(message, env.security, now=env.now(), limit=env.max_body, allow_expired=True)
