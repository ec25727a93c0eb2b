"""The routing slip: the fold of the records of one workflow.

``apply`` is the only definition of what a record means. Readers use it to verify a chain, writers to
make the next state, so the two cannot differ. It is pure: no I/O, no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..errors import ChainError, ItineraryError
from ..model.lazy import lazy
from ..model.records import Hop, Item, Origin, Revision, Step, ValueRef
from .revision import check_revision


class Phase(StrEnum):
    """Where a workflow goes."""

    FORWARD = "forward"
    COMPENSATING = "compensating"
    ENDED = "ended"


class Status(StrEnum):
    """How a workflow ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    TERMINATED = "terminated"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Undo(Struct, frozen=True):
    """A compensation that stands registered: the step, and the data its handler gets."""

    step: Step
    data: ValueRef


class Task(Struct, frozen=True):
    """What to run next. ``data`` is that of the compensation, with direction ``undo`` only."""

    step: Step
    direction: Literal["do", "undo"]
    data: ValueRef | None = None


class Fault(Struct, frozen=True):
    """Why the workflow does not complete. ``text`` is the digest of the blob with the error's text."""

    step: str
    activity: str
    error: str
    text: str


class Slip(Struct, frozen=True, dict=True):
    """The state of a workflow after its records so far.

    :param seq: number of the next record; 0 after the origin.
    :param iat: when the last record was made, seconds since the epoch.
    :param executed: steps that were done, in order.
    :param remaining: steps not begun; what an ended or compensating workflow still has here never runs.
    :param results: by step id.
    :param last: the result of the step done last.
    :param to_undo: registered compensations; the last is next.
    :param undone: ids of the steps whose compensation succeeded (or had nothing to do).
    :param undo_failed: ids of the steps whose compensation failed for good.
    :param pivoted: a pivot step succeeded: only forward from here.
    :param discarded: steps that revisions dropped.
    :param cause: why it stopped going forward (failed, expired or cancelled); ``None`` while it does.
    :param status: how it ended; ``None`` while it runs.
    """

    origin: Origin
    seq: int
    iat: int
    executed: tuple[Step, ...]
    remaining: tuple[Step, ...]
    results: Mapping[str, ValueRef] = {}
    last: ValueRef | None = None
    variables: Mapping[str, ValueRef] = {}
    to_undo: tuple[Undo, ...] = ()
    undone: tuple[str, ...] = ()
    undo_failed: tuple[str, ...] = ()
    fault: Fault | None = None
    pivoted: bool = False
    revisions: int = 0
    discarded: tuple[Step, ...] = ()
    cause: Status | None = None
    status: Status | None = None

    @property
    def phase(self) -> Phase:
        if self.status is not None:
            return Phase.ENDED
        return Phase.FORWARD if self.cause is None else Phase.COMPENSATING

    @lazy
    def next(self) -> Task | None:
        """What to run next; ``None`` at the end."""
        if self.status is not None:
            return None
        if self.cause is None:
            return Task(self.remaining[0], "do")
        undo = self.to_undo[-1]
        return Task(undo.step, "undo", undo.data)


_MEMBERS = ("out", "vars", "comp", "err", "usage", "req", "rev")
_ALLOWED = {
    ("do", "ok"): {"out", "vars", "comp", "usage", "rev"},
    ("do", "fault"): {"vars", "comp", "err", "usage"},
    ("do", "expired"): {"out", "vars", "comp", "usage"},
    ("do", "cancelled"): {"out", "vars", "comp", "usage", "req"},
    ("undo", "ok"): {"vars", "usage"},
    ("undo", "skip"): {"usage"},
    ("undo", "fault"): {"vars", "err", "usage"},
}
"""Which members a hop may have, by direction and status; what is not listed cannot happen."""

_FORBIDDEN = {outcome: tuple(m for m in _MEMBERS if m not in allowed) for outcome, allowed in _ALLOWED.items()}

_CAUSES = {"fault": Status.FAILED, "expired": Status.EXPIRED, "cancelled": Status.CANCELLED}


def steps_of(items: Iterable[Item]) -> tuple[Step, ...]:
    """The activities of an itinerary.

    :raises ItineraryError: it has another kind of item.
    """
    steps: list[Step] = []
    for item in items:
        if item.step is None:
            raise ItineraryError(
                f"the itinerary has a {item.kind!r}; this release runs activities only: upgrade the worker"
            )
        steps.append(item.step)
    return tuple(steps)


def start(origin: Origin) -> Slip:
    """The slip before the first hop.

    :raises ItineraryError: step ids repeat, a step refers to no earlier one, or its scope is wider
        than the origin's.
    """
    steps = steps_of(origin.items)
    known: set[str] = set()
    for step in steps:
        if step.id in known:
            raise ItineraryError(f"workflow {origin.wf!r}: two steps have the id {step.id!r}")
        for key, source in (step.from_ or {}).items():
            if source.step not in known:
                raise ItineraryError(f"step {step.id!r}, argument {key!r}: {source.step!r} is no earlier step")
        if not set(step.scope or ()) <= set(origin.scope or ()):
            raise ItineraryError(f"step {step.id!r} has a wider scope than the workflow")
        known.add(step.id)
    return Slip(origin, 0, origin.iat, (), steps, variables=origin.vars or {})


def fold(origin: Origin, hops: Iterable[Hop]) -> Slip:
    """The slip after these hops. Raises what ``start`` and ``apply`` raise."""
    slip = start(origin)
    for hop in hops:
        slip = apply(slip, hop)
    return slip


def apply(slip: Slip, hop: Hop) -> Slip:
    """The slip after one more hop.

    Whether ``prev`` is the digest of the record before is the envelope's to check: it has the bytes.

    :raises ChainError: the hop belongs elsewhere in the history, or to another workflow.
    :raises ItineraryError: it is not what the itinerary has next, or not a possible outcome of it.
    :raises RevisionNotAuthorized: its revision is beyond what the dispatcher granted.
    """
    step = _follows(slip, hop)
    changes: dict[str, Any] = {"seq": slip.seq + 1, "iat": hop.iat, "variables": _set(slip.variables, hop.vars)}
    if hop.dir == "undo":
        changes |= _undone(slip, step, hop)
    elif hop.st == "ok":
        changes |= _done(slip, step, hop)
    else:
        changes |= _stopped(slip, step, hop)
    return replace(slip, **changes)


def _follows(slip: Slip, hop: Hop) -> Step:
    if hop.wf != slip.origin.wf:
        raise ChainError(f"{_where(slip, hop)}: belongs to workflow {hop.wf!r}")
    if hop.seq != slip.seq:
        raise ChainError(f"{_where(slip, hop)}: expected record {slip.seq}")
    if hop.iat < slip.iat:
        raise ChainError(f"{_where(slip, hop)}: made before the record it follows")
    task = slip.next
    if task is None:
        raise ChainError(f"{_where(slip, hop)}: after the end ({slip.status})")
    if (hop.step, hop.act, hop.dir) != (task.step.id, task.step.act, task.direction):
        raise ItineraryError(
            f"{_where(slip, hop)}: {hop.dir} of step {hop.step!r} ({hop.act!r}), but next is "
            f"{task.direction} of step {task.step.id!r} ({task.step.act!r})"
        )
    if wrong := _wrong_outcome(slip, hop):
        raise ItineraryError(f"{_where(slip, hop)}: {wrong}")
    return task.step


def _where(slip: Slip, hop: Hop) -> str:
    return f"workflow {slip.origin.wf!r}, record {hop.seq}"


def _wrong_outcome(slip: Slip, hop: Hop) -> str | None:
    """Why the next task cannot have ended like this, if it cannot."""
    if hop.fork or hop.join or hop.approval:
        return "more than an activity; this release runs activities only: upgrade the worker"
    forbidden = _FORBIDDEN.get((hop.dir, hop.st))
    if forbidden is None:
        return f"{hop.dir} cannot end as {hop.st!r}"
    for name in forbidden:
        if getattr(hop, name) is not None:
            return f"{name!r} does not go with {hop.dir} {hop.st!r}"
    return None if hop.st == "ok" else _wrong_stop(slip, hop)


def _wrong_stop(slip: Slip, hop: Hop) -> str | None:
    if hop.st == "fault" and hop.err is None:
        return "a fault without its error"
    if hop.st == "fault" and hop.dir == "do" and slip.pivoted:
        return "a fault after the pivot, where only retrying goes on"
    if hop.st == "expired" and hop.iat < (slip.origin.exp if slip.origin.dl is None else slip.origin.dl):
        return "expired before the deadline"
    return None


def _done(slip: Slip, step: Step, hop: Hop) -> dict[str, Any]:
    remaining = slip.remaining[1:]
    changes: dict[str, Any] = {
        "executed": (*slip.executed, step),
        "remaining": remaining,
        "results": _set(slip.results, {step.id: hop.out}),
        "last": hop.out,
        "to_undo": _registered(slip, step, hop),
        "status": None if remaining else Status.COMPLETED,
    }
    if step.policy is not None and step.policy.pivot:
        changes |= {"pivoted": True, "to_undo": ()}
    if hop.rev is not None:
        changes |= _revised(slip, hop, hop.rev)
    return changes


def _revised(slip: Slip, hop: Hop, rev: Revision) -> dict[str, Any]:
    tail = steps_of(rev.tail)
    check_revision(slip, tail, end=rev.end is True, n=rev.n, issuer=hop.iss)
    kept = {step.id for step in tail}
    return {
        "remaining": tail,
        "discarded": (*slip.discarded, *(step for step in slip.remaining[1:] if step.id not in kept)),
        "revisions": rev.n,
        "status": Status.TERMINATED if rev.end else None if tail else Status.COMPLETED,
    }


def _stopped(slip: Slip, step: Step, hop: Hop) -> dict[str, Any]:
    """A fault, a passed deadline or a cancellation: what stands registered is undone, last first."""
    cause, to_undo = _CAUSES[hop.st], _registered(slip, step, hop)
    changes: dict[str, Any] = {
        "remaining": slip.remaining[1:],
        "to_undo": to_undo,
        "cause": cause,
        "status": None if to_undo else cause,
    }
    if hop.err is not None:
        changes["fault"] = Fault(step.id, step.act, hop.err.class_, hop.err.h)
    if hop.out is not None:
        results = _set(slip.results, {step.id: hop.out})
        changes |= {"executed": (*slip.executed, step), "results": results, "last": hop.out}
    return changes


def _registered(slip: Slip, step: Step, hop: Hop) -> tuple[Undo, ...]:
    if hop.comp is None or slip.pivoted:
        return slip.to_undo
    return (*slip.to_undo, Undo(step, hop.comp))


def _undone(slip: Slip, step: Step, hop: Hop) -> dict[str, Any]:
    failed, to_undo = hop.st == "fault", slip.to_undo[:-1]
    undone = slip.undone if failed else (*slip.undone, step.id)
    undo_failed = (*slip.undo_failed, step.id) if failed else slip.undo_failed
    status = None
    if not to_undo or (failed and step.comp != "continue"):
        status = Status.COMPENSATION_FAILED if undo_failed else Status.COMPENSATED
    return {"to_undo": to_undo, "undone": undone, "undo_failed": undo_failed, "status": status}


def _set(values: Mapping[str, ValueRef], changes: Mapping[str, ValueRef | None] | None) -> Mapping[str, ValueRef]:
    """The values with these changes; ``None`` removes."""
    if not changes:
        return values
    merged = {**values, **changes}
    return {key: value for key, value in merged.items() if value is not None}
