"""Waiting out the trouble of a backend or a signer: it is never a fault of an activity."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ..errors import BackendUnavailable, OutcomeUnknown, SignerUnavailable

if TYPE_CHECKING:
    from ..abc import Clock

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("paigeant.runtime")

FIRST, LARGEST = 0.05, 5.0


async def patiently(call: Callable[P, Awaitable[T]], clock: Clock, what: str, *args: P.args, **kwargs: P.kwargs) -> T:
    """Repeat ``call(*args, **kwargs)`` until the backend or signer answers; for calls that may be repeated.

    Ends with the first answer, with an error that says no (``LeaseLost``, ``RevisionConflict``, ...) or that
    no waiting mends (``BackendClosed``, ``BackendCorrupt``), or with cancellation.
    """
    pause = FIRST
    while True:
        try:
            return await call(*args, **kwargs)
        except (BackendUnavailable, OutcomeUnknown, SignerUnavailable) as exc:
            log.warning("%s: %s; trying again", what, exc)
        await clock.sleep(pause * (0.5 + random.random() / 2))
        pause = min(pause * 2, LARGEST)
