"""From a delivery to a claim: open, verify, compare with the cursor; refuse what must not be trusted."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from ..envelope.frame import SEEN_HEADER, header_number
from ..envelope.opening import Opened, open_envelope
from ..errors import (
    AudienceMismatch,
    BackendCorrupt,
    BackendUnavailable,
    Expired,
    ItineraryError,
    MessageTooLarge,
    NotYetValid,
    SecurityError,
    SignerUnavailable,
    UnknownKey,
    UnsupportedVersion,
)
from ..model.message import Message
from ..routing.slip import Status
from ..state.ids import BranchKeys
from .patience import patiently
from .refusal import refuse
from .telling import log_end
from .values import CLAIM_CHECK, Values

if TYPE_CHECKING:
    from ..abc import Delivery
    from ..model.records import Step
    from .claim import Claim
    from .environment import Environment
    from .protocol import HopProtocol
    from .telling import Telling

log = logging.getLogger("paigeant.runtime")

NOT_SERVED_DELAY = 5.0
ODD_DELAY = 5.0
ODD_PATIENCE = 600.0
_CENTURY = 100 * 366 * 86_400.0


class Reception:
    """Verifies deliveries and claims their hops.

    :param served: names of the activities that this worker runs.
    """

    def __init__(self, env: Environment, protocol: HopProtocol, telling: Telling, served: Container[str]) -> None:
        self._env, self._protocol, self._telling, self._served = env, protocol, telling, served

    async def claim(self, delivery: Delivery) -> Claim | None:
        """The claim of a delivery's hop; ``None``: it is dealt with."""
        try:
            opened = await self._open_patiently(delivery)
            return None if opened is None else await self._claim(delivery, opened)
        except (SecurityError, MessageTooLarge) as exc:
            await self._refuse(delivery, exc)
        except (SignerUnavailable, BackendUnavailable, BackendCorrupt) as exc:
            # Not its fault. Left to its lease it would count as a crash, or be held as long as the connection.
            log.warning("a message of queue %r is tried again in %g s: %s", delivery.queue, ODD_DELAY, exc)
            await self._later(delivery, ODD_DELAY)
        return None

    async def _open_patiently(self, delivery: Delivery) -> Opened | None:
        """A stepped clock or a key rotation heals within minutes."""
        try:
            return await self._open(delivery)
        except (UnknownKey, NotYetValid) as exc:
            if await self._put_off(delivery, exc):
                return None
            if isinstance(exc, UnknownKey):
                raise
        await self._park_future(delivery)
        return None

    async def _open(self, delivery: Delivery) -> Opened | None:
        env = self._env
        try:
            opened = await open_envelope(delivery.message, env.security, now=env.now(), limit=env.max_body)
        except Expired:
            if not await self._expire(delivery):
                raise
            return None
        return destined(opened, delivery.queue)

    async def _open_any_time(self, delivery: Delivery, now: float) -> Opened:
        env = self._env
        return await open_envelope(delivery.message, env.security, now=now, limit=env.max_body, allow_expired=True)

    async def _expire(self, delivery: Delivery) -> bool:
        """End a known, unfinished workflow; an unknown one is not worth an event."""
        opened = await self._open_any_time(delivery, self._env.now())
        keys = BranchKeys.of(opened.slip.origin.wf)
        ended = await self._protocol.expire(delivery, opened, keys)
        if ended:
            log_end(opened.slip.origin.wf, Status.EXPIRED)
            await self._telling.ended(opened.slip.origin.wf, keys, opened.slip.seq, "expired")
        return ended is not False

    async def _claim(self, delivery: Delivery, opened: Opened) -> Claim | None:
        task, keys = opened.slip.next, BranchKeys.of(opened.slip.origin.wf)
        if task is not None and (why := self._not_ours(task.step)):
            log.warning("queue %r holds work for %r, which this worker %s", delivery.queue, task.step.act, why)
            return await self._protocol.claim(delivery, opened, keys, wait=NOT_SERVED_DELAY)
        if opened.lacking:
            await self._look_for_values(opened, keys)
        claim = await self._protocol.claim(delivery, opened, keys)
        if claim is None or not claim.poisoned:
            return claim
        await self._park(claim, "poison")
        return None

    def _not_ours(self, step: Step) -> str | None:
        """Why it is left to the other workers of the queue, if it is: they may serve more, or sign as somebody else."""
        if step.act not in self._served:
            return "does not serve"
        if step.by is not None and (own := self._env.security.issuer) not in step.by:
            return f"may not run as {own!r} (only as one of {list(step.by)!r})"
        return None

    async def _look_for_values(self, opened: Opened, keys: BranchKeys) -> None:
        """Before anything is changed: who takes out a value needs no key, and must not decide how a workflow ends.

        What is too large to travel was never in the message: the store has lost it, and its step fails.

        :raises PayloadMissing: a value that must travel was taken out, and is nowhere else.
        """
        env = self._env
        taken = [ref for ref in opened.lacking if env.store is None or ref.n <= CLAIM_CHECK]
        if taken:
            await Values(env, opened, keys).fetch(taken)

    async def _park(self, claim: Claim, reason: str) -> None:
        await self._telling.parked(claim, reason)
        await self._protocol.park(claim, reason)

    async def _later(self, delivery: Delivery, delay: float, seen: Mapping[str, str] = {}) -> None:
        """Back into the queue, with ``seen`` noted, after a while. A new message, so that its deliveries start anew."""
        message = delivery.message
        copy = Message(message.id, message.body, {**message.headers, **seen})
        again = await self._env.later(delivery.queue, copy, delay)
        try:
            await patiently(delivery.settle, self._env.clock, "settling a delivery", again)
        except MessageTooLarge as exc:
            await self._refuse(delivery, exc)

    async def _put_off(self, delivery: Delivery, exc: SecurityError) -> bool:
        """Whether there is time left. The message itself says since when, for it may meet any number of workers; a time
        in the future, which none of them wrote, counts as now."""
        now, headers = int(self._env.now() * 1000), delivery.message.headers
        seen = min(header_number(headers, SEEN_HEADER, now), now)
        if now - seen >= ODD_PATIENCE * 1000:
            return False
        if SEEN_HEADER not in headers:
            text = "a message of queue %r cannot be verified; it is tried again, and given up after %g s: %s: %s"
            log.warning(text, delivery.queue, ODD_PATIENCE, type(exc).__name__, exc)
        await self._later(delivery, ODD_DELAY, {SEEN_HEADER: str(seen)})
        return True

    async def _park_future(self, delivery: Delivery) -> None:
        """A workflow from the future, whose records are all in order."""
        opened = await self._open_any_time(delivery, self._env.now() + _CENTURY)
        claim = await self._claim(delivery, destined(opened, delivery.queue))
        if claim is not None:
            await self._park(claim, NotYetValid.__name__)

    async def _refuse(self, delivery: Delivery, exc: SecurityError | MessageTooLarge) -> None:
        """Dead-letter the bytes untouched, once, with the class of the error."""
        name = type(exc).__name__
        log.warning("message %r of queue %r is refused: %s: %s", delivery.message.id, delivery.queue, name, exc)
        await refuse(self._env, delivery, name)
        await self._telling.refused(delivery, name)


def destined(opened: Opened, queue: str) -> Opened:
    """Make sure that there is something to run, that this release can, and that it belongs into ``queue``.

    :raises SecurityError: it must be refused.
    """
    task, origin = opened.slip.next, opened.slip.origin
    if origin.dl is not None or origin.obo is not None:
        name = "a deadline" if origin.obo is None else "a user on whose behalf it runs"
        raise UnsupportedVersion(f"workflow {origin.wf!r} has {name}, which this release ignores: upgrade the worker")
    if task is None:
        raise ItineraryError("the workflow of this message has ended; there is nothing to run")
    if task.step.q != queue:
        raise AudienceMismatch(f"a message for queue {task.step.q!r} was found in queue {queue!r}")
    return opened
