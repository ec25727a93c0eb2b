"""What the three ways of committing a hop have in common."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ...errors import BackendError, LeaseLost, RevisionConflict
from ...model.store import Write

if TYPE_CHECKING:
    from ...abc import Clock, Delivery
    from ...envelope.opening import Opened
    from ...state.ids import BranchKeys
    from ..claim import Claim

log = logging.getLogger("paigeant.runtime")

GIVE_BACK_WITHIN = 3.0
"""Seconds: a worker that stops does not wait for a backend that is down."""


class Commit(Struct, frozen=True):
    """A sealed hop, ready to take effect.

    :param opened: the envelope with the new record.
    :param writes: history and claim-checked values that belong to it.
    """

    opened: Opened
    writes: tuple[Write, ...] = ()


class HopProtocol(ABC):
    """Claims and transitions of one mode. Each transition happens once, whoever else tries.

    Every method may raise ``LeaseLost``: somebody else owns the hop, nothing was done.
    Backend trouble is waited out inside, never raised to the activity.
    """

    @abstractmethod
    async def claim(self, delivery: Delivery, opened: Opened, keys: BranchKeys, *, wait: float = 0.0) -> Claim | None:
        """Own the hop of a verified message; ``None``: there is nothing to run, the delivery is dealt with.

        :param wait: not for this worker: put what would be run back, for somebody else, for so many seconds.
        :raises ForkDetected: the message holds another history than the committed one.
        """

    @abstractmethod
    async def commit(self, claim: Claim, commit: Commit) -> None:
        """The hop is done: forward to the next one, or end the workflow."""

    @abstractmethod
    async def retry(self, claim: Claim, delay: float, *, counted: bool) -> None:
        """Run the hop again after ``delay`` seconds."""

    @abstractmethod
    async def park(self, claim: Claim, reason: str) -> None:
        """The hop waits for a person."""

    @abstractmethod
    async def release(self, claim: Claim) -> None:
        """Give the hop back unharmed: shutting down."""

    async def let_go(self, claim: Claim, delay: float) -> None:
        """Leave the hop to whoever comes after ``delay`` seconds. A crash, that is: it may fail like that each time."""
        await claim.delivery.release(delay)

    @abstractmethod
    async def lapse(self, claim: Claim) -> None:
        """The workflow has expired while its hop ran: end it, nothing may be recorded any more."""

    @abstractmethod
    async def expire(self, delivery: Delivery, opened: Opened, keys: BranchKeys) -> bool | None:
        """End an expired workflow, if it is known and unfinished.

        :returns: ``True`` if it ended now; ``False``: nothing was done; ``None``: an old copy, settled.
        """


async def give_back(release: Coroutine[Any, Any, None], clock: Clock) -> None:
    """Await the ``release`` of a hop on behalf of who was cancelled, but not for ever. Its trouble is only logged."""
    giving = asyncio.ensure_future(release)
    try:
        async with clock.timeout(GIVE_BACK_WITHIN):
            await asyncio.shield(giving)
    except (LeaseLost, RevisionConflict) as exc:
        log.info("a hop had been given back already, or taken over: %s", exc)
    except (BackendError, TimeoutError) as exc:
        log.warning("a hop could not be given back (%s); its lease will end", exc or type(exc).__name__)
    finally:
        giving.cancel()
