"""How a workflow ended, read from its signed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..envelope.opening import Opened
    from .activity import Ran

R = TypeVar("R")


@dataclass(frozen=True)
class FaultInfo:
    """Why a workflow did not complete.

    :param activity: the activity that failed; ``step`` its id in the itinerary.
    :param error: class of the exception; ``message`` its text, bounded and redacted.
    """

    activity: str
    step: str
    error: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """The end of a workflow.

    :param correlation_id: its id.
    :param status: ``completed``, ``failed``, ``compensated``, ``compensation_failed``, ``terminated``,
        ``cancelled`` or ``expired``.
    :param results: plain results by activity name (the latest, if it ran more than once) and by
        explicit step id.
    :param variables: plain variables as the last step left them.
    :param fault: what failed, if something did.
    :param undone: activities that were compensated, in the order of compensation.
    :param undo_failed: activities whose compensation failed.
    :param not_undone: activities whose compensation did not run.
    :param discarded: activities that a revision removed.
    """

    correlation_id: str
    status: str
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fault: FaultInfo | None = None
    undone: tuple[str, ...] = ()
    undo_failed: tuple[str, ...] = ()
    not_undone: tuple[str, ...] = ()
    discarded: tuple[str, ...] = ()

    @overload
    def result_of(self, activity: Ran[Coroutine[Any, Any, R]]) -> R: ...
    @overload
    def result_of(self, activity: Ran[R]) -> R: ...
    def result_of(self, activity: Any) -> Any:
        """The result of an activity, as the type it declares.

        :raises KeyError: it has none.
        """
        return activity.signature.typed_result(self.results[activity.name])

    def __str__(self) -> str:
        if self.fault is None:
            return f"workflow {self.correlation_id!r} is {self.status}"
        return (
            f"workflow {self.correlation_id!r} is {self.status}: activity {self.fault.activity!r} "
            f"(step {self.fault.step!r}) failed with {self.fault.message}"
        )


@dataclass(frozen=True)
class HistoryEntry:
    """One committed hop, for people.

    :param status: ``ok``, ``fault``, ``skip``, ``expired`` or ``cancelled``.
    :param started: of the last attempt, seconds since the epoch; ``finished`` likewise.
    """

    seq: int
    step: str
    activity: str
    direction: str
    status: str
    attempt: int
    worker: str
    started: float
    finished: float


@dataclass(frozen=True)
class WorkflowStatus:
    """Where a workflow stands now.

    :param state: ``ready``, ``running``, ``waiting``, ``parked`` or ``ended``.
    :param outcome: terminal status once ``ended``.
    :param queue: where its next activity waits; ``consumers`` how many serve that queue (``None``:
        unknown).
    :param parked: why it is parked.
    """

    correlation_id: str
    state: str
    seq: int
    attempt: int
    queue: str = ""
    outcome: str = ""
    parked: str = ""
    until: float = 0.0
    consumers: int | None = None


def proven_status(opened: Opened, now: float) -> str:
    """The terminal state that an envelope proves, empty if none: expiry leaves no record, but has its time."""
    if opened.slip.status is not None:
        return str(opened.slip.status)
    return "expired" if now >= opened.slip.origin.exp else ""
