"""What observers are told: one typed union.

Delivery to observers is at least once; ``id`` is the same for the same fact, so a receiver can drop
repeats. The durable fact is the signed record, not the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class _Event:
    id: str
    workflow: str
    at: float


@dataclass(frozen=True, slots=True)
class WorkflowDispatched(_Event):
    """A workflow was accepted."""

    activities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _StepEvent(_Event):
    seq: int
    step: str
    activity: str
    direction: Literal["do", "undo"]
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class ActivityStarted(_StepEvent):
    """An attempt begins (direction ``undo``: a compensation)."""


@dataclass(frozen=True, slots=True)
class ActivityCompleted(_StepEvent):
    """The outcome ``ok`` is committed. ``duration`` in seconds."""

    duration: float


@dataclass(frozen=True, slots=True)
class ActivityRetrying(_StepEvent):
    """An attempt failed; the next comes after ``delay`` seconds."""

    error: str
    delay: float


@dataclass(frozen=True, slots=True)
class ActivityFaulted(_StepEvent):
    """The last attempt failed, and that is committed. Told once per step and direction."""

    error: str


@dataclass(frozen=True, slots=True)
class ItineraryRevised(_StepEvent):
    """A revision is committed: activities inserted, activities discarded."""

    inserted: tuple[str, ...]
    discarded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkflowParked(_Event):
    """The workflow stands still until someone resumes it."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkflowResumed(_Event):
    """A parked workflow was put back to work."""


@dataclass(frozen=True, slots=True)
class WorkflowEnded(_Event):
    """The one terminal state.

    ``workflow`` is empty if it expired in a queue that nobody serves, and only the broker has its id.
    """

    status: str


@dataclass(frozen=True, slots=True)
class MessageDeadLettered(_Event):
    """Refused bytes were moved to the dead-letter queue; ``workflow`` is empty if it was not verified."""

    queue: str
    error: str


WorkflowEvent: TypeAlias = (
    WorkflowDispatched
    | ActivityStarted
    | ActivityCompleted
    | ActivityRetrying
    | ActivityFaulted
    | ItineraryRevised
    | WorkflowParked
    | WorkflowResumed
    | WorkflowEnded
    | MessageDeadLettered
)
