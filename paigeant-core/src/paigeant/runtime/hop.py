"""One hop: open, claim, run, seal, commit."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from ..envelope.opening import Opened, open_envelope
from ..envelope.sealing import seal_hop
from ..errors import (
    AudienceMismatch,
    BackendError,
    Expired,
    ItineraryError,
    LeaseLost,
    NotYetValid,
    RevisionNotAuthorized,
    SecurityError,
    SignerUnavailable,
    UnknownKey,
)
from ..model.message import Publication
from ..model.names import dead_letter_queue
from ..model.store import Write
from ..routing.advance import Commit as Sealable
from ..routing.advance import Failed, Park, Retry, Succeeded, advance
from ..state.ids import BranchKeys
from .claim import Claim
from .execution import Execution, Host
from .patience import patiently
from .protocol import Commit
from .protocol.stored import lifetime
from .redaction import describe
from .refusal import refused
from .telling import Telling
from .values import write_history

if TYPE_CHECKING:
    from ..abc import Delivery
    from .environment import Environment
    from .heartbeat import Heartbeat
    from .notifier import Notifier
    from .protocol import HopProtocol
    from .throttle import Throttle

log = logging.getLogger("paigeant.runtime")

NOT_SERVED_DELAY = 5.0
CLOCK_PATIENCE = 600.0
CLOCK_DELAY = 5.0
_YEARS = 100 * 366 * 86_400.0


class HopRunner:
    """Takes deliveries through the hop. One per worker.

    :param name: of the worker, for history and events.
    """

    def __init__(
        self,
        env: Environment,
        protocol: HopProtocol,
        host: Host,
        heartbeat: Heartbeat,
        notifier: Notifier,
        throttle: Throttle,
        name: str,
    ) -> None:
        self._env, self._protocol, self._host = env, protocol, host
        self._heartbeat, self._throttle, self._name = heartbeat, throttle, name
        self._telling = Telling(notifier, env, name)
        self._odd: dict[str, float] = {}

    async def process(self, delivery: Delivery) -> None:
        """Deal with one delivery, whatever it holds. Cancelled, it gives the hop back."""
        try:
            await self._process(delivery)
        except LeaseLost as exc:
            log.info("a hop was taken over by another worker: %s", exc)
        except BackendError as exc:
            # Nothing was settled: the lease ends and the message comes back.
            log.warning("a delivery of queue %r was left to its lease: %s", delivery.queue, exc)

    async def _process(self, delivery: Delivery) -> None:
        try:
            opened = await self._open(delivery)
            claim = None if opened is None else await self._claim(delivery, opened)
        except (UnknownKey, NotYetValid) as exc:
            return await self._wait_or_refuse(delivery, exc)
        except SecurityError as exc:
            return await self._refuse(delivery, exc)
        if claim is None:
            return None
        claim.task = asyncio.current_task()
        self._heartbeat.add(claim)
        try:
            await self._run(claim)
        except asyncio.CancelledError:
            if not claim.lost:
                await self._give_back(claim)
                raise
        finally:
            self._heartbeat.remove(claim)
        return None

    async def _open(self, delivery: Delivery) -> Opened | None:
        env = self._env
        try:
            opened = await open_envelope(delivery.message, env.security, now=env.now(), limit=env.max_body)
        except Expired:
            opened = await open_envelope(
                delivery.message, env.security, now=env.now(), limit=env.max_body, allow_expired=True
            )
            keys = BranchKeys.of(opened.slip.origin.wf)
            if not await self._protocol.expire(delivery, opened, keys):
                raise
            await self._telling.ended(opened.slip.origin.wf, keys.hop_id(opened.slip.seq), "expired")
            return None
        task = opened.slip.next
        if task is None:
            raise ItineraryError("the workflow of this message has ended; there is nothing to run")
        if task.step.q != delivery.queue:
            raise AudienceMismatch(f"a message for queue {task.step.q!r} was found in queue {delivery.queue!r}")
        return opened

    async def _claim(self, delivery: Delivery, opened: Opened) -> Claim | None:
        task = opened.slip.next
        assert task is not None
        if task.step.act not in self._host.activities:
            log.warning(
                "queue %r holds work for activity %r, which this worker does not serve", delivery.queue, task.step.act
            )
            return await self._later(delivery, NOT_SERVED_DELAY)
        return await self._protocol.claim(delivery, opened, BranchKeys.of(opened.slip.origin.wf))

    async def _run(self, claim: Claim) -> None:
        await self._throttle.wait(claim.next.step.act)
        execution = Execution(self._env, self._host, claim)
        started = self._env.now()
        await self._telling.started(claim)
        result = await execution.run()
        self._throttle.note(claim.next.step.act, ok=isinstance(result, Succeeded))
        activity = self._host.activities[claim.next.step.act]
        try:
            step = advance(
                claim.opened.slip,
                result,
                attempt=claim.cursor.attempt,
                policy=activity.retry,
                random=random.random(),
            )
        except RevisionNotAuthorized as exc:
            result = self._fault(execution, result, exc)
            step = advance(claim.opened.slip, result, attempt=claim.cursor.attempt, policy=activity.retry, random=0.0)
        if isinstance(step, Retry):
            await self._telling.retrying(claim, result, execution, step.delay)
            return await self._protocol.retry(claim, step.delay, counted=step.counted)
        if isinstance(step, Park):
            await self._telling.parked(claim, step.reason)
            return await self._protocol.park(claim, f"{step.reason}: {self._text(result, execution)}"[:1000])
        return await self._commit(claim, execution, result, step, started)

    def _fault(self, execution: Execution, result: Succeeded | Failed, exc: Exception) -> Failed:
        """What the activity asked for is refused: a permanent fault in place of its result."""
        comp = result.comp
        kept = execution.outbox.blobs.get(comp.h) if comp else None
        execution.outbox.blobs.clear()
        if comp is not None and kept is not None:
            execution.outbox.blobs[comp.h] = kept
        return Failed(type(exc).__name__, execution.outbox.add_text(describe(exc)), "permanent", None, comp)

    def _text(self, result: Succeeded | Failed, execution: Execution) -> str:
        if isinstance(result, Succeeded):
            return ""
        return execution.outbox.blobs[result.text].decode("utf-8", "replace").strip('"')

    async def _commit(
        self, claim: Claim, execution: Execution, result: Succeeded | Failed, step: Sealable, started: float
    ) -> None:
        commit = await self._seal(claim, execution, step, started)
        if len(commit.body) > self._env.max_body and isinstance(result, Succeeded):
            result = self._fault(execution, result, _too_large(claim, commit, self._env.max_body))
            policy = self._host.activities[claim.next.step.act].retry
            decided = advance(
                claim.opened.slip, result, attempt=claim.cursor.attempt, policy=policy, random=0.0
            )
            if isinstance(decided, Park):
                return await self._protocol.park(claim, f"{decided.reason}: {self._text(result, execution)}")
            assert isinstance(decided, Sealable)
            commit = await self._seal(claim, execution, decided, started)
        await self._telling.committed(claim, commit.opened, self._env.now() - started)
        return await self._protocol.commit(claim, commit)

    async def _seal(self, claim: Claim, execution: Execution, step: Sealable, started: float) -> Commit:
        slip, ttl = claim.opened.slip, 0.0
        out = step.draft.out
        result = execution.outbox.blobs.get(out.h, b"") if out is not None else b""
        if self._env.store is not None:
            ttl = lifetime(self._env, slip.origin.exp)
        blobs = execution.outbox
        writes = blobs.split(claim.keys, ttl)
        if out is not None and out.h not in blobs.blobs:
            result = b""

        async def seal() -> Opened:
            return await seal_hop(claim.opened, step.draft, blobs.blobs, self._env.security, now=self._env.now())

        opened = await self._with_signers(seal)
        if self._env.store is not None:
            entry = write_history(
                opened.hops[-1], worker=self._name, started=started, finished=self._env.now(), out=result
            )
            writes.append(Write(claim.keys.history(claim.seq), entry, ttl=ttl))
        return Commit.of(opened, writes)

    async def _with_signers(self, seal: Any) -> Opened:
        """A signer that is down is waited out like a backend: the step is done, only its record is not."""
        pause = 0.1
        while True:
            try:
                return await seal()  # type: ignore[no-any-return]
            except SignerUnavailable as exc:
                log.warning("a record cannot be signed: %s; trying again", exc)
            await self._env.clock.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _give_back(self, claim: Claim) -> None:
        try:
            await asyncio.shield(asyncio.ensure_future(self._protocol.release(claim)))
        except BackendError as exc:
            log.warning("a hop could not be given back: %s; its lease will end", exc)

    async def _later(self, delivery: Delivery, delay: float) -> None:
        """Back into the queue as it is, after a while. A new message, so that its deliveries start anew."""
        again = Publication(delivery.queue, delivery.message, delay)
        await patiently(lambda: delivery.settle(again), self._env.clock, "settling a delivery")

    async def _wait_or_refuse(self, delivery: Delivery, exc: UnknownKey | NotYetValid) -> None:
        """A stepped clock or a key rotation heals within minutes."""
        now = self._env.clock.monotonic()
        first = self._odd.setdefault(delivery.message.id, now)
        if now - first < CLOCK_PATIENCE:
            if len(self._odd) > 10_000:
                self._odd.clear()
            return await self._later(delivery, CLOCK_DELAY)
        self._odd.pop(delivery.message.id, None)
        if isinstance(exc, UnknownKey):
            return await self._refuse(delivery, exc)
        return await self._park_future(delivery)

    async def _park_future(self, delivery: Delivery) -> None:
        opened = await open_envelope(
            delivery.message, self._env.security, now=self._env.now() + _YEARS, limit=self._env.max_body, allow_expired=True
        )
        claim = await self._claim(delivery, opened)
        if claim is not None:
            await self._protocol.park(claim, NotYetValid.__name__)

    async def _refuse(self, delivery: Delivery, exc: SecurityError) -> None:
        """Dead-letter the bytes untouched, once, with the class of the error."""
        name = type(exc).__name__
        log.warning("a message of queue %r is refused: %s: %s", delivery.queue, name, exc)
        dead = Publication(dead_letter_queue(delivery.queue), refused(delivery, name, self._env.now()))
        await patiently(lambda: delivery.settle(dead), self._env.clock, "settling a delivery")
        await self._telling.refused(delivery, name)


def _too_large(claim: Claim, commit: Commit, limit: int) -> Exception:
    from ..errors import MessageTooLarge

    step = claim.next.step
    return MessageTooLarge(
        f"activity {step.act!r} (step {step.id!r}): with its result and variables the message has "
        f"{len(commit.body)} bytes, over the limit of {limit}; return less, configure a state store, or raise "
        "PAIGEANT_MAX_MESSAGE_BYTES"
    )


