"""From a delivery to a claim: open, verify, compare with the cursor; refuse what must not be trusted."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container
from typing import TYPE_CHECKING

from ..envelope.opening import Opened, open_envelope
from ..errors import (
    AudienceMismatch,
    BackendCorrupt,
    BackendUnavailable,
    Expired,
    ItineraryError,
    NotYetValid,
    SecurityError,
    SignerUnavailable,
    UnknownKey,
)
from ..model.message import Publication
from ..model.names import dead_letter_queue
from ..state.ids import BranchKeys
from .patience import patiently
from .refusal import refused

if TYPE_CHECKING:
    from ..abc import Delivery
    from .claim import Claim
    from .environment import Environment
    from .protocol import HopProtocol
    from .telling import Telling

log = logging.getLogger("paigeant.runtime")

NOT_SERVED_DELAY = 5.0
ODD_DELAY = 5.0
ODD_PATIENCE = 600.0
_MOST_ODD = 10_000
_CENTURY = 100 * 366 * 86_400.0


class Reception:
    """Verifies deliveries and claims their hops.

    :param served: names of the activities that this worker runs.
    """

    def __init__(self, env: Environment, protocol: HopProtocol, telling: Telling, served: Container[str]) -> None:
        self._env, self._protocol, self._telling, self._served = env, protocol, telling, served
        self._odd: dict[bytes, float] = {}

    async def claim(self, delivery: Delivery) -> Claim | None:
        """The claim of a delivery's hop; ``None``: it is dealt with."""
        try:
            opened = await self._open_patiently(delivery)
            return None if opened is None else await self._claim(delivery, opened)
        except SecurityError as exc:
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
            if self._may_heal(delivery):
                await self._later(delivery, ODD_DELAY)
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
        return _destined(opened, delivery.queue)

    async def _open_any_time(self, delivery: Delivery, now: float) -> Opened:
        env = self._env
        return await open_envelope(delivery.message, env.security, now=now, limit=env.max_body, allow_expired=True)

    async def _expire(self, delivery: Delivery) -> bool:
        """End a known, unfinished workflow; an unknown one is not worth an event."""
        opened = await self._open_any_time(delivery, self._env.now())
        keys = BranchKeys.of(opened.slip.origin.wf)
        ended = await self._protocol.expire(delivery, opened, keys)
        if ended:
            await self._telling.ended(opened.slip.origin.wf, keys, opened.slip.seq, "expired")
        return ended is not False

    async def _claim(self, delivery: Delivery, opened: Opened) -> Claim | None:
        task = opened.slip.next
        if task is not None and task.step.act not in self._served:
            log.warning("queue %r holds work for %r, which this worker does not serve", delivery.queue, task.step.act)
            await self._later(delivery, NOT_SERVED_DELAY)
            return None
        claim = await self._protocol.claim(delivery, opened, BranchKeys.of(opened.slip.origin.wf))
        if claim is None or not claim.poisoned:
            return claim
        await self._park(claim, "poison")
        return None

    async def _park(self, claim: Claim, reason: str) -> None:
        await self._telling.parked(claim, reason)
        await self._protocol.park(claim, reason)

    async def _later(self, delivery: Delivery, delay: float) -> None:
        """Back into the queue as it is, after a while. A new message, so that its deliveries start anew."""
        again = await self._env.later(delivery.queue, delivery.message, delay)
        await patiently(lambda: delivery.settle(again), self._env.clock, "settling a delivery")

    def _may_heal(self, delivery: Delivery) -> bool:
        now = self._env.clock.monotonic()
        if len(self._odd) > _MOST_ODD:
            self._odd.clear()
        first = self._odd.setdefault(_mark(delivery), now)
        if now - first < ODD_PATIENCE:
            return True
        del self._odd[_mark(delivery)]
        return False

    async def _park_future(self, delivery: Delivery) -> None:
        """A workflow from the future, whose records are all in order."""
        opened = await self._open_any_time(delivery, self._env.now() + _CENTURY)
        claim = await self._claim(delivery, _destined(opened, delivery.queue))
        if claim is not None:
            await self._park(claim, NotYetValid.__name__)

    async def _refuse(self, delivery: Delivery, exc: SecurityError) -> None:
        """Dead-letter the bytes untouched, once, with the class of the error."""
        name = type(exc).__name__
        log.warning("a message of queue %r is refused: %s: %s", delivery.queue, name, exc)
        dead = Publication(dead_letter_queue(delivery.queue), refused(delivery, name, self._env.now()))
        await patiently(lambda: delivery.settle(dead), self._env.clock, "settling a delivery")
        await self._telling.refused(delivery, name)


def _destined(opened: Opened, queue: str) -> Opened:
    """Make sure that there is something to run, and that it belongs into ``queue``."""
    task = opened.slip.next
    if task is None:
        raise ItineraryError("the workflow of this message has ended; there is nothing to run")
    if task.step.q != queue:
        raise AudienceMismatch(f"a message for queue {task.step.q!r} was found in queue {queue!r}")
    return opened


def _mark(delivery: Delivery) -> bytes:
    """What tells a message again whose copies have other ids."""
    return hashlib.sha256(delivery.message.body).digest()
