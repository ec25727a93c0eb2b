"""One hop: claim, run, decide, seal, commit."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from ..errors import (
    Expired,
    LeaseLost,
    MessageTooLarge,
    PaigeantError,
    RevisionNotAuthorized,
    SecurityError,
    SerializationError,
    UnknownKey,
)
from ..routing.advance import Commit as Sealable
from ..routing.advance import Failed, Retry, Succeeded, advance
from ..routing.slip import Phase, Status
from .execution import Execution, Host
from .protocol import give_back
from .reception import ODD_DELAY, Reception
from .sealing import HOP_BYTES, Sealer
from .telling import Telling, log_end

if TYPE_CHECKING:
    from ..abc import Delivery
    from ..routing.advance import Transition
    from ..routing.slip import Slip
    from .claim import Claim
    from .environment import Environment
    from .heartbeat import Heartbeat
    from .protocol import Commit, HopProtocol
    from .throttle import Throttle

log = logging.getLogger("paigeant.runtime")


class HopRunner:
    """Takes deliveries through the hop. One per worker.

    :param worker: its name, for history and events.
    """

    def __init__(
        self,
        env: Environment,
        protocol: HopProtocol,
        host: Host,
        *,
        heartbeat: Heartbeat,
        throttle: Throttle,
        worker: str,
    ) -> None:
        self._env, self._protocol, self._host = env, protocol, host
        self._heartbeat, self._throttle = heartbeat, throttle
        self._telling = Telling(env, worker)
        self._sealer = Sealer(env, worker)
        self._reception = Reception(env, protocol, self._telling, host.activities)

    async def process(self, delivery: Delivery) -> None:
        """Deal with one delivery, whatever it holds. Cancelled, it gives the hop back."""
        claim = None
        try:
            claim = await self._reception.claim(delivery)
            if claim is not None:
                await self._own(claim)
        except LeaseLost as exc:
            log.info("a hop was taken over by another worker: %s", exc)
        except PaigeantError as exc:
            log.error("a delivery of queue %r is given back: %s", delivery.queue, exc)
            await self._let_go(delivery, claim)
        except Exception:
            log.exception("a delivery of queue %r failed; it is given back", delivery.queue)
            await self._let_go(delivery, claim)

    async def _let_go(self, delivery: Delivery, claim: Claim | None) -> None:
        """Not left to its lease: some brokers know no other than that of the connection."""
        try:
            delay = await self._env.hold(ODD_DELAY)
            await (delivery.release(delay) if claim is None else self._protocol.let_go(claim, delay))
        except PaigeantError as exc:
            log.info("a delivery of queue %r could not be given back: %s", delivery.queue, exc)

    async def _own(self, claim: Claim) -> None:
        task = claim.task = asyncio.current_task()
        if task is not None:
            task.set_name(f"activity {claim.next.step.act!r} of workflow {claim.correlation_id!r}")
        self._heartbeat.add(claim)
        try:
            await self._run(claim)
        except asyncio.CancelledError:
            if not claim.lost:
                claim.concluding = True
                await give_back(self._protocol.release(claim), self._env.clock)
                raise
        finally:
            self._heartbeat.remove(claim)

    async def _run(self, claim: Claim) -> None:
        act = claim.next.step.act
        if put_off := await self._throttle.admit(act) or self._host.threads.put_off(act):
            return await self._protocol.retry(claim, put_off, counted=False)
        execution = Execution(self._env, self._host, claim)
        started = self._env.now()
        await self._telling.started(claim)
        try:
            result = await execution.run()
        except (SecurityError, SerializationError) as exc:
            return await self._without_registered(claim, exc)
        if claim.lost:  # and the activity has swallowed its cancellation
            raise LeaseLost(f"hop {claim.seq} of workflow {claim.correlation_id!r} is not ours any more")
        claim.concluding = True
        self._throttle.note(act, ok=isinstance(result, Succeeded))
        try:
            await self._conclude(claim, execution, result, started)
        except Expired:
            await self._telling.ended(claim.correlation_id, claim.keys, claim.seq, "expired")
            await self._protocol.lapse(claim)
            log_end(claim.correlation_id, Status.EXPIRED)
        return None

    async def _without_registered(self, claim: Claim, exc: SecurityError | SerializationError) -> None:
        """What the step registered cannot be had, and nothing may be recorded without. While keys are rotated, another
        worker may have the one that is missing."""
        error = type(exc).__name__
        step = self._decide(claim, Failed(error, "", "transient", ODD_DELAY)) if isinstance(exc, UnknownKey) else None
        if isinstance(step, Retry):
            await self._telling.retrying(claim, f"{error}: {exc}", step.delay)
            return await self._protocol.retry(claim, step.delay, counted=step.counted)
        return await self._park(claim, error, str(exc))

    async def _conclude(self, claim: Claim, execution: Execution, result: Succeeded | Failed, started: float) -> None:
        try:
            await self._take_effect(claim, execution, result, started)
        except (RevisionNotAuthorized, MessageTooLarge, SerializationError) as exc:
            if claim.next.direction == "undo" and isinstance(result, Succeeded):
                # It is undone: its handler must not be called failed. A person can raise the limit.
                return await self._park(claim, type(exc).__name__, str(exc))
            # What the activity asked for cannot be: that is its fault, and no attempt can mend it.
            await self._refuse(claim, execution, execution.refuse(result, exc), started)

    async def _take_effect(
        self, claim: Claim, execution: Execution, result: Succeeded | Failed, started: float, *, short: bool = False
    ) -> None:
        """:param short: nothing more of it can be left out."""
        step = self._decide(claim, result)
        if isinstance(step, Sealable):
            commit = await self._sealer.seal(claim, step.draft, execution.outbox, started)
            self._check_size(claim, commit, 0 if short else _room(commit.opened.slip, result))
            await self._telling.committed(claim, commit.opened, execution.text_of(result), self._env.now() - started)
            await self._protocol.commit(claim, commit)
            return log_end(claim.correlation_id, commit.opened.slip.status)
        text = execution.text_of(result)
        if isinstance(step, Retry):
            await self._telling.retrying(claim, text, step.delay)
            return await self._protocol.retry(claim, step.delay, counted=step.counted)
        return await self._park(claim, step.reason, text)

    async def _park(self, claim: Claim, reason: str, text: str) -> None:
        await self._telling.parked(claim, reason, text)
        await self._protocol.park(claim, f"{reason}: {text}"[:1000])

    def _decide(self, claim: Claim, result: Succeeded | Failed) -> Transition:
        return advance(
            claim.opened.slip,
            result,
            attempt=claim.cursor.attempt,
            policy=self._host.activities[claim.next.step.act].retry,
            random=random.random(),
        )

    async def _refuse(self, claim: Claim, execution: Execution, result: Failed, started: float) -> None:
        try:
            await self._take_effect(claim, execution, result, started, short=True)
        except MessageTooLarge as exc:
            await self._park(claim, type(exc).__name__, execution.text_of(result))

    def _check_size(self, claim: Claim, commit: Commit, room: int) -> None:
        size, limit = len(commit.opened.body), self._env.max_body
        if size + room > limit:
            step = claim.next.step
            raise MessageTooLarge(
                f"activity {step.act!r} (step {step.id!r}): with its result and variables the message has "
                f"{size} bytes, over the limit of {limit} less {room} for what follows; return less, "
                f"configure a state store, or {self._env.raising}"
            )


def _room(slip: Slip, result: Succeeded | Failed) -> int:
    """Bytes that a step must leave free for what must fit later: the records of all that would be undone, and before
    them that of a fault. What is undone leaves none: its record can only be kept now."""
    if slip.next is None or (slip.phase is Phase.COMPENSATING and isinstance(result, Succeeded)):
        return 0
    return HOP_BYTES * (len(slip.to_undo) + isinstance(result, Succeeded))
