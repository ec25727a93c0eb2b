"""What to tell one who has waited for an outcome in vain."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress

from ..abc import Clock, Scope
from ..errors import BackendError
from .outcome import WorkflowStatus

LOOK = 1.0
"""Seconds for a last look at the store, when the time to wait is over already."""


async def last_look(status: Awaitable[WorkflowStatus], clock: Clock) -> WorkflowStatus | None:
    """The status, if the store tells it soon."""
    with suppress(BackendError, TimeoutError):
        async with clock.timeout(LOOK):
            return await status
    return None


def standing(correlation_id: str, status: WorkflowStatus | None, *, scope: Scope, stored: bool) -> str:
    """Where the workflow stands, and what to do about it.

    :param status: as it is now, if the store has told in time.
    :param scope: of the transport.
    :param stored: whether there is a state store.
    """
    if not stored:
        return (
            "it goes on, unless its message was refused (see `paigeant dead-letters list`); without a state store only "
            "the transport instance that dispatched it can ask again"
        )
    if status is not None and status.parked:
        return f"it is parked ({status.parked}) until: paigeant workflows resume {correlation_id}"
    if status is not None and status.state != "running" and status.consumers == 0:
        where = (
            "in this process, for no other sees this transport" if scope == "process" else "that serves its activity"
        )
        return f"nobody serves queue {status.queue!r} now: start a worker {where}, and it goes on"
    if scope == "process":
        return "it goes on if a Worker in this process serves its activities, for no other process sees this transport"
    return (
        f"it goes on: ask again; look at `paigeant workflows status {correlation_id}` and, if that stays as it is, "
        "whether its message was refused: `paigeant dead-letters list`"
    )
