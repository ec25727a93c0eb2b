"""From transitions to events and log lines. No payloads in either, but for the redacted texts of errors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..model.events import (
    ActivityCompleted,
    ActivityFaulted,
    ActivityRetrying,
    ActivityStarted,
    ItineraryRevised,
    MessageDeadLettered,
    WorkflowEnded,
    WorkflowParked,
)
from .notifier import event_id

if TYPE_CHECKING:
    from ..abc import Delivery
    from ..envelope.opening import Opened
    from ..routing.slip import Status
    from ..state.ids import BranchKeys
    from .claim import Claim
    from .environment import Environment

log = logging.getLogger("paigeant.activity")


def ended_id(hop_id: str, status: str) -> str:
    """Of ``WorkflowEnded``: told before the commit, so another status of the same hop is another fact."""
    return event_id(f"{hop_id}/{status}", WorkflowEnded, 0)


def log_end(workflow: str, status: Status | None) -> None:
    """Say that a workflow has ended, if it has: once that is committed, for who reads it takes it for done."""
    if status is not None and log.isEnabledFor(logging.INFO):
        log.info("workflow %s is %s", workflow, status, extra={"workflow": workflow, "status": str(status)})


class Telling:
    """Events of one worker."""

    def __init__(self, env: Environment, worker: str) -> None:
        self._notifier, self._env, self._worker = env.notifier, env, worker

    async def started(self, claim: Claim) -> None:
        if self._notifier:
            await self._notifier.tell(ActivityStarted(**self._step(claim, ActivityStarted, claim.cursor.gen)))

    async def retrying(self, claim: Claim, text: str, delay: float) -> None:
        """``text`` is that of the failure, redacted."""
        log.warning(
            "activity %s of workflow %s failed, attempt %d; again in %.1f s: %s",
            claim.next.step.act,
            claim.correlation_id,
            claim.cursor.attempt,
            delay,
            text[:500],
            extra=_facts(claim),
        )
        if self._notifier:
            step = self._step(claim, ActivityRetrying, claim.cursor.gen)
            await self._notifier.tell(ActivityRetrying(**step, error=text, delay=delay))

    async def parked(self, claim: Claim, reason: str, text: str = "") -> None:
        """``text`` as for ``retrying``."""
        log.warning(
            "workflow %s is %s (%s) at activity %s%s; put it back to work with: %s",
            claim.correlation_id,
            "parked" if self._env.store else "a dead letter",
            reason,
            claim.next.step.act,
            f": {text[:500]}" if text else "",
            self._remedy(claim),
            extra=_facts(claim),
        )
        if self._notifier:
            hop_id = claim.keys.hop_id(claim.seq)
            event = event_id(hop_id, WorkflowParked, claim.cursor.gen)
            await self._notifier.tell(WorkflowParked(event, claim.correlation_id, self._env.now(), reason))

    def _remedy(self, claim: Claim) -> str:
        if self._env.store is not None:
            return f"paigeant workflows resume {claim.correlation_id}"
        return f"paigeant dead-letters replay {claim.delivery.queue} {claim.delivery.message.id}"

    async def committed(self, claim: Claim, opened: Opened, text: str, duration: float) -> None:
        """The outcome of a hop, told before it is committed (see ``Notifier``). ``text`` as for ``retrying``."""
        hop = opened.hops[-1]
        if hop.st == "ok":
            if log.isEnabledFor(logging.DEBUG):
                log.debug("activity %s done", hop.act, extra=_facts(claim))
        else:
            log.warning(
                "activity %s of workflow %s faulted after %d attempts: %s",
                hop.act,
                hop.wf,
                hop.att,
                text[:500] or hop.st,
                extra=_facts(claim),
            )
        if self._notifier:
            await self._outcome(claim, opened, duration)
        if opened.slip.status is not None:
            await self.ended(hop.wf, claim.keys, claim.seq, str(opened.slip.status))

    async def _outcome(self, claim: Claim, opened: Opened, duration: float) -> None:
        hop = opened.hops[-1]
        if hop.st == "ok":
            await self._notifier.tell(ActivityCompleted(**self._step(claim, ActivityCompleted), duration=duration))
        else:
            error = hop.err.class_ if hop.err else hop.st
            await self._notifier.tell(ActivityFaulted(**self._step(claim, ActivityFaulted), error=error))
        if hop.rev is not None:
            before = {step.id for step in claim.opened.slip.remaining}
            inserted = tuple(step.act for step in opened.slip.remaining if step.id not in before)
            dropped = opened.slip.discarded[len(claim.opened.slip.discarded) :]
            step = self._step(claim, ItineraryRevised)
            discarded = tuple(step.act for step in dropped)
            await self._notifier.tell(ItineraryRevised(**step, inserted=inserted, discarded=discarded))

    async def ended(self, workflow: str, keys: BranchKeys, seq: int, status: str) -> None:
        if self._notifier:
            event = WorkflowEnded(ended_id(keys.hop_id(seq), status), workflow, self._env.now(), status)
            await self._notifier.tell(event)

    async def refused(self, delivery: Delivery, error: str) -> None:
        if self._notifier:
            event = event_id(delivery.message.id, MessageDeadLettered, 0)
            await self._notifier.tell(MessageDeadLettered(event, "", self._env.now(), delivery.queue, error))

    def _step(self, claim: Claim, kind: type, gen: int = 0) -> dict[str, Any]:
        """:param gen: of the cursor, for what happens more than once in a hop: attempts are not all counted, and
        start anew when it is resumed.
        """
        task = claim.next
        return {
            "id": event_id(claim.keys.hop_id(claim.seq), kind, gen),
            "workflow": claim.correlation_id,
            "at": self._env.now(),
            "seq": claim.seq,
            "step": task.step.id,
            "activity": task.step.act,
            "direction": task.direction,
            "attempt": claim.cursor.attempt,
            "worker": self._worker,
        }


def _facts(claim: Claim) -> dict[str, Any]:
    """For structured logging handlers."""
    return {
        "workflow": claim.correlation_id,
        "seq": claim.seq,
        "activity": claim.next.step.act,
        "direction": claim.next.direction,
        "attempt": claim.cursor.attempt,
    }
