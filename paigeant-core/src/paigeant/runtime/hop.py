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
    SerializationError,
)
from ..routing.advance import Commit as Sealable
from ..routing.advance import Failed, Retry, Succeeded, advance
from .execution import Execution, Host
from .protocol import give_back
from .reception import ODD_DELAY, Reception
from .sealing import HOP_BYTES, Sealer
from .telling import Telling

if TYPE_CHECKING:
    from ..abc import Delivery
    from ..routing.advance import Transition
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
        try:
            claim = await self._reception.claim(delivery)
            if claim is not None:
                await self._own(claim)
        except LeaseLost as exc:
            log.info("a hop was taken over by another worker: %s", exc)
        except PaigeantError as exc:
            log.error("a delivery of queue %r is given back: %s", delivery.queue, exc)
            await self._let_go(delivery)
        except Exception:
            log.exception("a delivery of queue %r failed; it is given back", delivery.queue)
            await self._let_go(delivery)

    async def _let_go(self, delivery: Delivery) -> None:
        """Not left to its lease: some brokers know no other than that of the connection."""
        try:
            await delivery.release(await self._env.hold(ODD_DELAY))
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
                await give_back(self._protocol.release(claim), self._env.clock)
                raise
        finally:
            self._heartbeat.remove(claim)

    async def _run(self, claim: Claim) -> None:
        if put_off := await self._throttle.admit(claim.next.step.act):
            return await self._protocol.retry(claim, put_off, counted=False)
        execution = Execution(self._env, self._host, claim)
        started = self._env.now()
        await self._telling.started(claim)
        result = await execution.run()
        if claim.lost:  # and the activity has swallowed its cancellation
            raise LeaseLost(f"hop {claim.seq} of workflow {claim.correlation_id!r} is not ours any more")
        self._throttle.note(claim.next.step.act, ok=isinstance(result, Succeeded))
        try:
            await self._conclude(claim, execution, result, started)
        except Expired:
            await self._telling.ended(claim.correlation_id, claim.keys, claim.seq, "expired")
            await self._protocol.lapse(claim)
        return None

    async def _conclude(self, claim: Claim, execution: Execution, result: Succeeded | Failed, started: float) -> None:
        try:
            await self._take_effect(claim, execution, result, started)
        except (RevisionNotAuthorized, MessageTooLarge, SerializationError) as exc:
            # What the activity asked for cannot be: that is its fault, and no attempt can mend it.
            await self._refuse(claim, execution, execution.refuse(result, exc), started)

    async def _take_effect(
        self, claim: Claim, execution: Execution, result: Succeeded | Failed, started: float
    ) -> None:
        step = self._decide(claim, result)
        if isinstance(step, Sealable):
            commit = await self._sealer.seal(claim, step.draft, execution.outbox, started)
            self._check_size(claim, commit, result)
            await self._telling.committed(claim, commit.opened, self._env.now() - started)
            return await self._protocol.commit(claim, commit)
        text = execution.text_of(result)
        if isinstance(step, Retry):
            await self._telling.retrying(claim, text, step.delay)
            return await self._protocol.retry(claim, step.delay, counted=step.counted)
        await self._telling.parked(claim, step.reason)
        return await self._protocol.park(claim, f"{step.reason}: {text}"[:1000])

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
            await self._take_effect(claim, execution, result, started)
        except MessageTooLarge as exc:
            await self._telling.parked(claim, type(exc).__name__)
            await self._protocol.park(claim, f"{type(exc).__name__}: {execution.text_of(result)}"[:1000])

    def _check_size(self, claim: Claim, commit: Commit, result: Succeeded | Failed) -> None:
        """A success leaves room for what must fit later: the record of a fault, and those of all that is undone."""
        slip, limit = commit.opened.slip, self._env.max_body
        reserve = 0 if slip.next is None or isinstance(result, Failed) else HOP_BYTES * (1 + len(slip.to_undo))
        size = len(commit.opened.body)
        if size + reserve > limit:
            step = claim.next.step
            raise MessageTooLarge(
                f"activity {step.act!r} (step {step.id!r}): with its result and variables the message has "
                f"{size} bytes, over the limit of {limit} less {reserve} for what follows; return less, "
                f"configure a state store, or {self._env.raising}"
            )
