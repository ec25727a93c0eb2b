"""What a revision may do: the limits that the dispatcher signed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from paigeant.errors import RevisionNotAuthorized
from paigeant.model.records import ErrorClaim, Item, Revision, RevisionGrant, Step
from paigeant.routing import (
    ActivitySpec,
    Commit,
    ResultOf,
    RetryPolicy,
    RevisionDraft,
    Slip,
    Status,
    Succeeded,
    advance,
    apply,
    build_steps,
    check_revision,
    revision_ids,
    start,
)

from .records_kit import Values, draft_of, hop_of, origin_of

V = Values()
GRANT = RevisionGrant(by=("acme",), acts=("x", "y"), max=6)


def begin(*given: ActivitySpec, rev: RevisionGrant | None = GRANT) -> Slip:
    default = [ActivitySpec("a"), ActivitySpec("b"), ActivitySpec("c", pin=True), ActivitySpec("d")]
    return start(origin_of(build_steps(given or default, V.ref), rev=rev))


def new(*names: str, n: int = 1, **options: Any) -> tuple[Step, ...]:
    return build_steps([ActivitySpec(name, **options) for name in names], V.ref, ids=revision_ids(n))


def revised(slip: Slip, *tail: Step, end: bool = False, **claims: Any) -> Slip:
    result = Succeeded(revision=RevisionDraft(tail, "because", end))
    transition = advance(slip, result, attempt=1, policy=RetryPolicy(), random=0.0)
    assert isinstance(transition, Commit)
    return apply(slip, hop_of(slip, transition.draft, **claims))


def names(slip: Slip) -> list[str]:
    return [step.act for step in slip.remaining]


def test_insert_append_and_replace() -> None:
    slip = begin()
    _, b, c, d = slip.remaining
    assert names(revised(slip, *new("x"), b, c, d)) == ["x", "b", "c", "d"]
    assert names(revised(slip, b, c, d, *new("x", "y"))) == ["b", "c", "d", "x", "y"]
    replaced = revised(slip, *new("x"), c)
    assert names(replaced) == ["x", "c"]
    assert [step.act for step in replaced.discarded] == ["b", "d"]
    again = revised(replaced, c, *new("y", n=2))
    assert (names(again), again.revisions) == (["c", "y"], 2)
    assert [step.act for step in again.executed] == ["a", "x"]


def test_an_end_terminates_at_once_and_undoes_nothing() -> None:
    slip = begin(ActivitySpec("a"), ActivitySpec("b"), ActivitySpec("c"))
    slip = apply(slip, hop_of(slip, draft_of(slip, comp=V.ref(1))))
    ended = revised(slip, end=True)
    assert (ended.status, ended.next, ended.remaining) == (Status.TERMINATED, None, ())
    assert [step.act for step in ended.discarded] == ["c"]


def test_dropping_all_that_remains_completes() -> None:
    assert revised(begin(ActivitySpec("a"), ActivitySpec("b"))).status is Status.COMPLETED


def test_a_new_step_may_use_the_result_of_the_one_that_revises() -> None:
    slip = begin()
    tail = build_steps(
        [ActivitySpec("x", {"r": ResultOf("a")})], V.ref, earlier=slip.remaining[:1], ids=revision_ids(1)
    )
    assert names(revised(slip, *tail, slip.remaining[2])) == ["x", "c"]


def _refusals() -> dict[str, tuple[Any, str]]:
    slip = begin()
    a, b, c, d = slip.remaining
    uses_d = build_steps([ActivitySpec("x", {"r": ResultOf("d")})], V.ref, earlier=(d,), ids=revision_ids(1))
    return {
        "changed": ((replace(b, q="elsewhere"), c), "step '2' is changed"),
        "pinned": ((b, d), r"step '3' \('c'\) is pinned"),
        "reordered": ((c, b), "keep their order"),
        "twice": ((b, b, c), "appear once"),
        "activity": ((*new("z"), c), "'z' may not be added"),
        "itself": ((a, c), "id '1' is already used"),
        "same new id": ((*new("x"), *new("y"), c), "'r1.1' is already used"),
        "budget": ((b, c, d, *new("x", "y", "x")), "7 steps in all, and at most 6"),
        "dangling": ((*uses_d, c), "takes the result of '4'"),
        "scope": ((replace(new("x")[0], scope=("admin",)), c), "wider scope"),
    }


@pytest.mark.parametrize("case", _refusals())
def test_beyond_the_grant_is_refused_before_and_after_signing(case: str) -> None:
    tail, rule = _refusals()[case]
    slip = begin()
    with pytest.raises(RevisionNotAuthorized, match=rule):
        advance(slip, Succeeded(revision=RevisionDraft(tail, "x")), attempt=1, policy=RetryPolicy(), random=0.0)
    forged = Revision(n=1, tail=tuple(Item(step=step) for step in tail), why="forged")
    with pytest.raises(RevisionNotAuthorized, match=rule):
        apply(slip, hop_of(slip, draft_of(slip, rev=forged)))


def test_an_id_stays_used_after_its_step_was_discarded() -> None:
    slip = revised(begin(), begin().remaining[2], *new("x"))
    back = replace(begin().remaining[1], act="x", q="x")
    with pytest.raises(RevisionNotAuthorized, match="'2' is already used"):
        revised(slip, back, *slip.remaining[1:])


def test_an_end_drops_no_pinned_step_and_has_no_tail() -> None:
    with pytest.raises(RevisionNotAuthorized, match="pinned"):
        revised(begin(), end=True)
    with pytest.raises(RevisionNotAuthorized, match="no steps left"):
        revised(begin(), *begin().remaining[1:], end=True)


def test_only_the_granted_principals_revise() -> None:
    slip = begin()
    with pytest.raises(RevisionNotAuthorized, match="'mallory' may not revise"):
        revised(slip, *slip.remaining[1:], iss="mallory")
    with pytest.raises(RevisionNotAuthorized, match="'mallory' may not revise"):
        check_revision(slip, slip.remaining[1:], issuer="mallory")
    with pytest.raises(RevisionNotAuthorized, match="granted no revision"):
        revised(begin(rev=None), *slip.remaining[1:])


def test_revisions_are_counted() -> None:
    slip = begin()
    jump = Revision(n=2, tail=tuple(Item(step=step) for step in slip.remaining[1:]), why="jump")
    with pytest.raises(RevisionNotAuthorized, match="number 1, not 2"):
        apply(slip, hop_of(slip, draft_of(slip, rev=jump)))


def test_not_while_compensating() -> None:
    slip = begin()
    err = ErrorClaim(class_="Boom", h=V.ref(1).h)
    slip = apply(slip, hop_of(slip, draft_of(slip, "fault", comp=V.ref(1), err=err)))
    with pytest.raises(RevisionNotAuthorized, match="a compensation cannot revise"):
        revised(slip, *slip.remaining)
    with pytest.raises(RevisionNotAuthorized, match="goes forward"):
        check_revision(slip, slip.remaining)
