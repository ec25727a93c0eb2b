"""What a revision of the itinerary may do (the dispatcher signed these limits)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import RevisionNotAuthorized
from ..model.records import RevisionGrant, Step

if TYPE_CHECKING:
    from .slip import Slip


def check_revision(
    slip: Slip, tail: Sequence[Step], *, end: bool = False, n: int | None = None, issuer: str | None = None
) -> None:
    """Check a revision made by the step that runs now, before or after it is signed.

    :param slip: the slip before that step's record; its first remaining step is the one that revises.
    :param tail: the complete new tail, not a delta; empty with ``end``.
    :param end: the workflow terminates, without compensation.
    :param n: its number; ``None`` is the next one.
    :param issuer: the principal that signs it; ``None`` leaves that rule out (not known yet).
    :raises RevisionNotAuthorized: naming the rule it breaks.
    """
    grant = slip.origin.rev
    if grant is None:
        raise _refused(slip, "the dispatcher granted no revision")
    if slip.cause is not None or slip.status is not None:
        raise _refused(slip, "only a workflow that goes forward can be revised")
    if issuer is not None and issuer not in grant.by:
        raise _refused(slip, f"{issuer!r} may not revise; granted to {', '.join(map(repr, grant.by))}")
    if n is not None and n != slip.revisions + 1:
        raise _refused(slip, f"it is number {slip.revisions + 1}, not {n}")
    if end and tail:
        raise _refused(slip, "a workflow that ends has no steps left")
    _check_kept(slip, tail)
    _check_new(slip, tail, grant)
    _check_references(slip, tail)


def _check_kept(slip: Slip, tail: Sequence[Step]) -> None:
    """Kept steps are unchanged and in their order; pinned ones are kept."""
    old = {step.id: step for step in slip.remaining[1:]}
    kept = [step for step in tail if step.id in old]
    for step in kept:
        if step != old[step.id]:
            raise _refused(slip, f"step {step.id!r} is changed; a step may only be kept or dropped")
    ids = {step.id for step in kept}
    if [step.id for step in kept] != [name for name in old if name in ids]:
        raise _refused(slip, "kept steps must keep their order and appear once")
    for step in old.values():
        if step.pin and step.id not in ids:
            raise _refused(slip, f"step {step.id!r} ({step.act!r}) is pinned and cannot be dropped")


def _check_new(slip: Slip, tail: Sequence[Step], grant: RevisionGrant) -> None:
    """New steps have new ids, granted activities and no wider scope; the total stays within the grant."""
    used = {step.id for step in (*slip.executed, slip.remaining[0], *slip.discarded)}
    old = {step.id for step in slip.remaining[1:]}
    scope = set(slip.origin.scope or ())
    for step in (step for step in tail if step.id not in old):
        if step.id in used:
            raise _refused(slip, f"the id {step.id!r} is already used")
        used.add(step.id)
        if step.act not in grant.acts:
            raise _refused(slip, f"activity {step.act!r} may not be added; granted: {', '.join(map(repr, grant.acts))}")
        if not set(step.scope or ()) <= scope:
            raise _refused(slip, f"step {step.id!r} has a wider scope than the workflow")
    total = len(slip.executed) + 1 + len(tail)
    if total > grant.max:
        raise _refused(slip, f"{total} steps in all, and at most {grant.max} are granted")


def _check_references(slip: Slip, tail: Sequence[Step]) -> None:
    known = {step.id for step in (*slip.executed, slip.remaining[0])}
    for step in tail:
        for key, source in (step.from_ or {}).items():
            if source.step not in known:
                raise _refused(
                    slip, f"step {step.id!r}, argument {key!r} takes the result of {source.step!r}, no earlier step"
                )
        known.add(step.id)


def _refused(slip: Slip, rule: str) -> RevisionNotAuthorized:
    return RevisionNotAuthorized(f"workflow {slip.origin.wf!r}: revision refused: {rule}")
