"""Where outcomes arrive when there is no store: one reply queue for each transport instance (EIP "Return Address").

Who dispatches and who waits share the instance, so they share the address. One consumer serves any
number of workflows (EIP "Correlation Identifier").
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Hashable
from typing import TYPE_CHECKING

from ..abc import see_through
from ..envelope.opening import Opened
from ..errors import (
    AudienceMismatch,
    BackendClosed,
    BackendError,
    BackendUnavailable,
    NotYetValid,
    SecurityError,
    SignerUnavailable,
    UnknownKey,
)
from ..model.message import Message
from .instances import PerInstance
from .outcome import proven_status

if TYPE_CHECKING:
    from ..abc import Consumer, Delivery
    from .environment import Environment

log = logging.getLogger("paigeant.runtime")

BATCH = 100
LEASE = 30.0
EXPIRES = 3600.0
"""Seconds after which the queue of a vanished process may go."""
SETTLE_WITHIN = 3.0
KEPT = 32 * 1024 * 1024
"""Bytes of messages whose outcomes are kept for whoever asks later; then the oldest give way."""
AGAIN_AFTER, ATTEMPTS = 5.0, 120
"""Seconds until a message that may be verified later is looked at again, and how often, if a key or a clock is odd."""


class Inbox:
    """The outcomes that came to one address: kept, so that several may ask, and again."""

    def __init__(self) -> None:
        self._queue = f"reply.{secrets.token_hex(16)}"
        self._named = False
        self._kept: dict[str, Message] = {}  # as they came: what is made of them takes eight times the memory
        self._size = 0
        self._waiting: dict[str, dict[asyncio.Future[Opened], Environment]] = {}  # for whom
        self._members: list[Environment] = []
        self._server: Environment | None = None  # the member whose keys are used: it has them open
        self._task: asyncio.Task[None] | None = None

    def address(self) -> str:
        """The reply queue, for the origin of a workflow."""
        self._named = True
        return self._queue

    @staticmethod
    def of(env: Environment) -> Inbox:
        """The inbox of a transport instance, for those who trust the same keys."""
        return _inboxes.of(env.transport).setdefault(env.security.trust, Inbox())

    def join(self, env: Environment) -> None:
        """Become one of those for whom is received."""
        self._members.append(env)

    async def leave(self, env: Environment) -> None:
        """Undo ``join``, before what ``env`` holds is closed: another member's keys take over."""
        self._members = [member for member in self._members if member is not env]
        self._fail(BackendClosed("the client was closed while it waited"), env)
        if self._server is env and (task := self._task) is not None:
            task.cancel()
            try:
                await see_through(task)
            finally:
                if self._task is task:  # else somebody who began to wait just now has had another made
                    self._task = self._server = None
                self._serve()

    def _serve(self) -> None:
        """Receive, unless that is done; begin anew after a trouble, or after the transport was connected again."""
        if self._members and (self._task is None or self._task.done()):
            self._server = self._members[-1]
            self._task = asyncio.create_task(self._run(self._server), name="paigeant inbox")

    async def wait(self, env: Environment, workflow: str) -> Opened:
        """The final envelope of a workflow, verified. For members.

        :raises BackendClosed: the transport was disconnected, or ``env`` has left, meanwhile.
        """
        if workflow in self._kept:
            kept = self._kept[workflow]
            return await env.open_final(kept.body, kept.headers)
        if not self._named:
            log.warning(
                "waiting for workflow %s, but none was dispatched through this transport instance: without a state "
                "store an outcome comes to the instance that dispatched, and nowhere else; ask there, or configure "
                "one (PAIGEANT_STATE_STORE)",
                workflow,
            )
        self._serve()
        future: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(workflow, {})
        waiting[future] = env
        try:
            return await future
        finally:
            waiting.pop(future, None)
            if not waiting:
                self._waiting.pop(workflow, None)

    async def _run(self, env: Environment) -> None:
        while True:
            try:
                async with env.transport.consume([self._queue], lease=LEASE, expires=EXPIRES) as consumer:
                    await self._receive(env, consumer)
            except BackendClosed as exc:
                return self._fail(exc)
            except BackendError as exc:
                log.warning("outcomes cannot be received: %s; trying again", exc)
                await env.clock.sleep(1.0)
            except Exception as exc:
                log.exception("outcomes are not received until somebody asks again")
                return self._fail(exc)

    def _fail(self, exc: Exception, only: Environment | None = None) -> None:
        for waiting in self._waiting.values():
            for future, env in waiting.items():
                if not future.done() and (only is None or only is env):
                    future.set_exception(exc)

    async def _receive(self, env: Environment, consumer: Consumer) -> None:
        while True:
            deliveries = await consumer.receive(BATCH)
            taken = [delivery for delivery in deliveries if await self._take(env, delivery)]
            settling = asyncio.ensure_future(_settle(taken))
            try:
                await asyncio.shield(settling)
            except asyncio.CancelledError:
                await asyncio.wait([settling], timeout=SETTLE_WITHIN)  # who was told leaves nothing behind
                raise

    async def _take(self, env: Environment, delivery: Delivery) -> bool:
        """Whether the message is done with, for good or ill.

        Anyone can write to a queue: only a verified envelope that has ended, sent to this address, counts.
        """
        try:
            opened = await self._proof(env, delivery.message)
        except (SecurityError, SignerUnavailable, BackendUnavailable) as exc:
            if _may_heal(exc, delivery):
                await _put_back(delivery, exc)
                return False
            log.warning("a message in the reply queue is dropped: %s: %s", type(exc).__name__, exc)
            return True
        workflow = opened.slip.origin.wf
        self._keep(workflow, delivery.message)
        for future in self._waiting.get(workflow, ()):
            if not future.done():
                future.set_result(opened)
        return True

    async def _proof(self, env: Environment, message: Message) -> Opened:
        opened = await env.open_final(message.body, message.headers)
        origin = opened.slip.origin
        if origin.reply_to != self._queue:
            raise AudienceMismatch(f"the outcome of workflow {origin.wf!r} belongs elsewhere")
        if not proven_status(opened, env.now()):  # by the clock of who sent it, it has expired
            raise NotYetValid(f"workflow {origin.wf!r} has neither ended nor, by our clock, expired")
        return opened

    def _keep(self, workflow: str, message: Message) -> None:
        if workflow in self._kept:
            return
        self._kept[workflow] = message
        self._size += len(message.body)
        while self._size > KEPT:
            oldest = next(iter(self._kept))
            self._size -= len(self._kept.pop(oldest).body)
            log.warning(
                "the outcome of workflow %s is forgotten: nobody asked for it in time, and without a state store it "
                "is kept in memory only; configure one (PAIGEANT_STATE_STORE), or ask sooner",
                oldest,
            )


_inboxes: PerInstance[dict[Hashable, Inbox]] = PerInstance(dict)


def _may_heal(exc: Exception, delivery: Delivery) -> bool:
    """Keys out of reach come back; a stepped clock or a key rotation heals within minutes."""
    if isinstance(exc, (UnknownKey, NotYetValid)):
        return (delivery.deliveries or ATTEMPTS) < ATTEMPTS
    return not isinstance(exc, SecurityError)


async def _put_back(delivery: Delivery, exc: Exception) -> None:
    log.warning("an outcome cannot be verified yet: %s: %s; trying again", type(exc).__name__, exc)
    try:
        await delivery.release(AGAIN_AFTER)
    except BackendError as error:
        log.info("an outcome could not be put back (%s); it comes again when its lease ends", error)


async def _settle(deliveries: list[Delivery]) -> None:
    settled = await asyncio.gather(*(delivery.settle() for delivery in deliveries), return_exceptions=True)
    for error in settled:
        if isinstance(error, BackendError):
            log.info("an outcome could not be settled (%s); it may come again", error)
        elif error is not None:
            raise error
