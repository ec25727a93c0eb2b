"""From the result of an attempt to the next transition. Pure: it decides, the worker performs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from ..errors import ItineraryError, RevisionNotAuthorized
from ..model.records import ErrorClaim, Item, RequestClaim, Revision, Step, ValueRef
from .retry import RetryPolicy
from .revision import check_revision
from .slip import Phase, Slip, Task

MAX_DELAY = 366 * 86_400.0
"""Longest delay a rate limit can ask for, in seconds; the expiry of the workflow ends it anyway."""

_NONE: Final[Mapping[str, ValueRef | None]] = MappingProxyType({})


class RevisionDraft(Struct, frozen=True):
    """The complete new tail, why, and whether the workflow ends here (then ``tail`` is empty)."""

    tail: tuple[Step, ...]
    why: str
    end: bool = False


class Succeeded(Struct, frozen=True):
    """An attempt returned.

    :param out: its result. :param variables: variables set; ``None`` removes one.
    :param comp: data registered for compensation. :param usage: counters.
    """

    out: ValueRef | None = None
    variables: Mapping[str, ValueRef | None] = _NONE
    comp: ValueRef | None = None
    revision: RevisionDraft | None = None
    usage: Mapping[str, int] | None = None


class Failed(Struct, frozen=True):
    """An attempt raised.

    :param error: class name. :param text: digest of the blob with the error's text.
    :param delay: seconds the error itself asked for.
    :param comp: data registered for compensation before it failed.
    """

    error: str
    text: str
    kind: Literal["transient", "permanent", "rate-limited"]
    delay: float | None = None
    comp: ValueRef | None = None
    variables: Mapping[str, ValueRef | None] = _NONE


Result: TypeAlias = Succeeded | Failed


class HopDraft(Struct, frozen=True):
    """The claims of a hop without those that sealing adds (wf, seq, prev, iss, iat, signers)."""

    step: str
    act: str
    dir: Literal["do", "undo"]
    att: int
    st: Literal["ok", "fault", "skip", "expired", "cancelled"]
    out: ValueRef | None = None
    vars: Mapping[str, ValueRef | None] | None = None
    comp: ValueRef | None = None
    err: ErrorClaim | None = None
    usage: Mapping[str, int] | None = None
    req: RequestClaim | None = None
    rev: Revision | None = None


class Commit(Struct, frozen=True):
    """Append this hop and go on."""

    draft: HopDraft


class Retry(Struct, frozen=True):
    """Run it again after ``delay`` seconds; ``counted`` if that uses up an attempt."""

    delay: float
    counted: bool


class Park(Struct, frozen=True):
    """Stand still until a person resumes it. ``reason``: ``exhausted`` or ``permanent``."""

    reason: Literal["exhausted", "permanent"]


Transition: TypeAlias = Commit | Retry | Park


def advance(slip: Slip, result: Result, *, attempt: int, policy: RetryPolicy, random: float) -> Transition:
    """Decide what the result of the next task's ``attempt`` (from 1) leads to.

    :param policy: the activity's own; the step's ``policy`` overrides its attempts.
    :param random: from [0, 1), for the jitter.
    :raises RevisionNotAuthorized: the result holds a revision beyond the grant; it counts as a
        permanent fault of the activity.
    :raises ItineraryError: the workflow has ended.
    """
    task = slip.next
    if task is None:
        raise ItineraryError(f"workflow {slip.origin.wf!r} has ended ({slip.status}); nothing can advance it")
    if isinstance(result, Succeeded):
        return Commit(_succeeded(slip, task, result, attempt))
    if result.kind == "rate-limited":
        return Retry(_delay(result, attempt, policy, random), counted=False)
    attempts = (task.step.policy and task.step.policy.attempts) or policy.attempts
    if result.kind == "transient" and attempt < attempts:
        return Retry(_delay(result, attempt, policy, random), counted=True)
    if _parks(slip, task):
        return Park("permanent" if result.kind == "permanent" else "exhausted")
    return Commit(_failed(task, result, attempt))


def needed_refs(slip: Slip) -> list[ValueRef]:
    """References of the values that must travel on; one may come twice."""
    refs = list(slip.variables.values())
    if slip.last is not None:
        refs.append(slip.last)
    if slip.phase is Phase.FORWARD:
        for step in slip.remaining:
            refs.append(step.args)
            if step.from_:
                sources = (slip.results.get(source.step) for source in step.from_.values())
                refs += [ref for ref in sources if ref is not None]
    if slip.phase is not Phase.ENDED:
        for undo in slip.to_undo:
            refs += undo.data, undo.step.args
    return refs


def _succeeded(slip: Slip, task: Task, result: Succeeded, attempt: int) -> HopDraft:
    done = task.direction == "do"
    if result.revision is not None and not done:
        raise RevisionNotAuthorized(f"workflow {slip.origin.wf!r}: revision refused: a compensation cannot revise")
    return HopDraft(
        task.step.id,
        task.step.act,
        task.direction,
        attempt,
        "ok",
        out=result.out if done else None,
        vars=result.variables or None,
        comp=result.comp if done else None,
        usage=result.usage or None,
        rev=None if result.revision is None else _revision(slip, result.revision),
    )


def _revision(slip: Slip, draft: RevisionDraft) -> Revision:
    check_revision(slip, draft.tail, end=draft.end)
    return Revision(
        n=slip.revisions + 1,
        tail=tuple([Item(step=step) for step in draft.tail]),
        why=draft.why[:256] or "unspecified",
        end=True if draft.end else None,
    )


def _failed(task: Task, result: Failed, attempt: int) -> HopDraft:
    return HopDraft(
        task.step.id,
        task.step.act,
        task.direction,
        attempt,
        "fault",
        vars=result.variables or None,
        comp=result.comp if task.direction == "do" else None,
        err=ErrorClaim(class_=result.error[:256], h=result.text),
    )


def _parks(slip: Slip, task: Task) -> bool:
    if task.direction == "undo":
        return task.step.comp == "park"
    return slip.pivoted or (task.step.policy is not None and task.step.policy.exhausted == "park")


def _delay(result: Failed, attempt: int, policy: RetryPolicy, random: float) -> float:
    if result.delay is None or math.isnan(result.delay):
        return policy.delay(attempt, random)
    return min(max(0.0, result.delay), MAX_DELAY)
