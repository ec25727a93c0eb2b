"""The routing engine: pure and deterministic. Records in, slip out; result in, transition out."""

from .advance import (
    Commit,
    Failed,
    HopDraft,
    Park,
    Result,
    Retry,
    RevisionDraft,
    Succeeded,
    Transition,
    advance,
    needed_refs,
)
from .itinerary import (
    HARD_MAX_RECORDS,
    MAX_RECORDS,
    ActivitySpec,
    Encode,
    ResultOf,
    build_steps,
    check_records,
    revision_ids,
)
from .retry import RetryPolicy
from .revision import check_revision
from .slip import Fault, Phase, Slip, Status, Task, Undo, apply, fold, start, steps_of

__all__ = [
    "HARD_MAX_RECORDS",
    "MAX_RECORDS",
    "ActivitySpec",
    "Commit",
    "Encode",
    "Failed",
    "Fault",
    "HopDraft",
    "Park",
    "Phase",
    "Result",
    "ResultOf",
    "Retry",
    "RetryPolicy",
    "RevisionDraft",
    "Slip",
    "Status",
    "Succeeded",
    "Task",
    "Transition",
    "Undo",
    "advance",
    "apply",
    "build_steps",
    "check_records",
    "check_revision",
    "fold",
    "needed_refs",
    "revision_ids",
    "start",
    "steps_of",
]
