"""Without a store the message is the state: open, run, seal, settle. At least once per hop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...envelope.frame import ATTEMPT_HEADER, GEN_HEADER, HEADERS, NOT_BEFORE_HEADER, header_number
from ...errors import Expired
from ...model.message import Message, Publication
from ...state.cursor import Cursor
from ...state.transitions import EXPIRY_MARGIN
from ..claim import Claim
from ..patience import patiently
from ..refusal import refuse
from .base import Commit, HopProtocol

if TYPE_CHECKING:
    from ...abc import Delivery
    from ...envelope.opening import Opened
    from ...model.records import Origin
    from ...state.ids import BranchKeys
    from ..environment import Environment

MAX_DELIVERIES = 20
"""Crash guard by the broker's count; high, because prefetched bystanders are counted, too."""
REPLY_KEPT = 3600.0
"""Seconds for which an outcome waits for its reader, at least."""


class StorelessProtocol(HopProtocol):
    """Attempt and generation travel in headers: unsigned, so exhaustion is judged only after an execution."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    async def claim(self, delivery: Delivery, opened: Opened, keys: BranchKeys, *, wait: float = 0.0) -> Claim | None:
        headers = delivery.message.headers
        early = max(header_number(headers, NOT_BEFORE_HEADER, 0) / 1000 - self._env.now(), wait)
        if early > 0:
            # Its header says until when, however often it goes round.
            await self._settle(delivery, await self._env.later(delivery.queue, delivery.message, early))
            return None
        cursor = Cursor(
            seq=opened.slip.seq,
            queue=delivery.queue,
            attempt=max(1, min(header_number(headers, ATTEMPT_HEADER, 1), 1000)),
            gen=header_number(headers, GEN_HEADER, 0),
            exp=opened.slip.origin.exp,
        )
        claim = Claim(delivery, opened, keys, cursor, again=cursor.gen > 0 or (delivery.deliveries or 1) > 1)
        claim.poisoned = (delivery.deliveries or 1) >= MAX_DELIVERIES
        return claim

    async def commit(self, claim: Claim, commit: Commit) -> None:
        slip = commit.opened.slip
        message = Message(claim.keys.message_id(slip.seq, 0), commit.opened.body, HEADERS)
        if slip.next is not None:
            return await self._settle(claim.delivery, Publication(slip.next.step.q, message))
        return await self._settle(claim.delivery, *self._reply(slip.origin, message))

    async def retry(self, claim: Claim, delay: float, *, counted: bool) -> None:
        """Nobody else looks when the workflow has expired, so its message is back by then, however long the delay."""
        attempt = claim.cursor.attempt + (1 if counted else 0)
        left = max(0.0, claim.cursor.exp + EXPIRY_MARGIN - self._env.now())
        await self._settle(claim.delivery, await self._again(claim, attempt, min(delay, left)))

    async def park(self, claim: Claim, reason: str) -> None:
        """A dead letter: there is nothing else that could keep it. Its header names the kind of reason."""
        await refuse(self._env, claim.delivery, reason.partition(":")[0])

    async def release(self, claim: Claim) -> None:
        await self._settle(claim.delivery, await self._again(claim, claim.cursor.attempt, 0.0))

    async def lapse(self, claim: Claim) -> None:
        if not await self.expire(claim.delivery, claim.opened, claim.keys):
            await self.park(claim, Expired.__name__)

    async def expire(self, delivery: Delivery, opened: Opened, keys: BranchKeys) -> bool:
        origin = opened.slip.origin
        if origin.reply_to is None:
            return False
        message = Message(keys.message_id(opened.slip.seq, 0), opened.body, HEADERS)
        await refuse(self._env, delivery, Expired.__name__, *self._reply(origin, message))
        return True

    def _reply(self, origin: Origin, message: Message) -> tuple[Publication, ...]:
        ttl = max(REPLY_KEPT, origin.exp - self._env.now())
        return () if origin.reply_to is None else (Publication(origin.reply_to, message, ttl=ttl),)

    async def _again(self, claim: Claim, attempt: int, delay: float) -> Publication:
        gen = claim.cursor.gen + 1
        headers = {**HEADERS, ATTEMPT_HEADER: str(attempt), GEN_HEADER: str(gen)}
        message = Message(claim.keys.message_id(claim.seq, gen), claim.delivery.message.body, headers)
        return await self._delayed(claim.delivery.queue, message, delay)

    async def _delayed(self, queue: str, message: Message, delay: float) -> Publication:
        """Longer delays than the broker can do are made of several: the header tells until when."""
        until = self._env.now() + delay
        first = await self._env.hold(delay)
        if first < delay:
            headers = {**message.headers, NOT_BEFORE_HEADER: str(int(until * 1000))}
            message = Message(message.id, message.body, headers)
        return Publication(queue, message, first)

    async def _settle(self, delivery: Delivery, *successors: Publication) -> None:
        await patiently(lambda: delivery.settle(*successors), self._env.clock, "settling a delivery")
