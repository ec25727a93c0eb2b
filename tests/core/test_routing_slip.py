"""What each record means, and which records cannot follow."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from paigeant.errors import ChainError, ItineraryError
from paigeant.model.records import (
    Delay,
    ErrorClaim,
    ForkClaim,
    Item,
    JoinPolicy,
    RequestClaim,
    Revision,
    Source,
)
from paigeant.routing import ActivitySpec, Phase, ResultOf, Slip, Status, Task, apply, build_steps, start

from .records_kit import NOW, Values, draft_of, hop_of, origin_of, specs

V = Values()
ERR = ErrorClaim(class_="Boom", h=V.ref("text").h)


def begin(*given: ActivitySpec, **claims: Any) -> Slip:
    return start(origin_of(build_steps(given or specs("a", "b", "c"), V.ref), **claims))


def then(slip: Slip, st: str = "ok", **members: Any) -> Slip:
    claims = {name: members.pop(name) for name in ("iat",) if name in members}
    if st == "fault":
        members.setdefault("err", ERR)
    return apply(slip, hop_of(slip, draft_of(slip, st, **members), **claims))


def test_a_workflow_goes_forward_to_its_end() -> None:
    slip = begin()
    assert (slip.phase, slip.next, slip.seq) == (Phase.FORWARD, Task(slip.remaining[0], "do"), 0)
    for n in range(3):
        slip = then(slip, out=V.ref(n))
    assert [s.act for s in slip.executed] == ["a", "b", "c"]
    assert (slip.status, slip.phase, slip.next, slip.last) == (Status.COMPLETED, Phase.ENDED, None, V.ref(2))
    assert slip.results == {"1": V.ref(0), "2": V.ref(1), "3": V.ref(2)}


def test_variables_are_set_and_removed() -> None:
    slip = begin(vars={"keep": V.ref(1), "drop": V.ref(2)})
    slip = then(slip, vars={"drop": None, "new": V.ref(3), "never": None})
    assert slip.variables == {"keep": V.ref(1), "new": V.ref(3)}


def test_a_fault_without_registered_compensation_fails_the_workflow() -> None:
    slip = then(then(begin()), "fault")
    assert slip.status is Status.FAILED
    assert slip.fault is not None
    assert (slip.fault.step, slip.fault.activity, slip.fault.error) == ("2", "b", "Boom")
    assert [s.act for s in slip.remaining] == ["c"]


def test_compensation_is_last_in_first_out_and_includes_the_faulting_step() -> None:
    slip = then(then(begin(), comp=V.ref("undo a")), "fault", comp=V.ref("undo b"))
    assert slip.phase is Phase.COMPENSATING
    assert slip.next == Task(slip.to_undo[-1].step, "undo", V.ref("undo b"))
    slip = then(slip, vars={"said": V.ref("sorry")})
    assert slip.next is not None
    assert slip.next.data == V.ref("undo a")
    slip = then(slip, "skip")
    assert (slip.status, slip.undone, slip.undo_failed) == (Status.COMPENSATED, ("2", "1"), ())
    assert slip.variables == {"said": V.ref("sorry")}


@pytest.mark.parametrize("policy", [None, "halt", "park"])
def test_a_failed_compensation_halts(policy: Any) -> None:
    slip = begin(ActivitySpec("a"), ActivitySpec("b", on_undo_failure=policy))
    slip = then(then(slip, comp=V.ref(1)), "fault", comp=V.ref(2))
    slip = then(slip, "fault")
    assert (slip.status, slip.undone, slip.undo_failed) == (Status.COMPENSATION_FAILED, (), ("2",))
    assert [undo.step.act for undo in slip.to_undo] == ["a"]  # what was not run
    assert slip.fault is not None
    assert slip.fault.step == "2"


def test_a_failed_compensation_may_let_the_others_go_on() -> None:
    slip = begin(ActivitySpec("a"), ActivitySpec("b", on_undo_failure="continue"))
    slip = then(then(then(slip, comp=V.ref(1)), "fault", comp=V.ref(2)), "fault")
    slip = then(slip)
    assert (slip.status, slip.undone, slip.undo_failed) == (Status.COMPENSATION_FAILED, ("1",), ("2",))


def test_after_a_pivot_nothing_is_undone() -> None:
    slip = begin(ActivitySpec("a"), ActivitySpec("b", pivot=True), ActivitySpec("c"))
    slip = then(then(slip, comp=V.ref(1)), comp=V.ref(2))
    assert (slip.pivoted, slip.to_undo) == (True, ())
    with pytest.raises(ItineraryError, match="after the pivot"):
        then(slip, "fault")
    assert then(slip, "cancelled", comp=V.ref(3)).status is Status.CANCELLED


@pytest.mark.parametrize(("st", "status"), [("cancelled", Status.CANCELLED), ("expired", Status.EXPIRED)])
def test_cancelled_and_expired_stop_it_and_undo(st: str, status: Status) -> None:
    late = {"iat": NOW + 50} if st == "expired" else {}
    slip = begin(dl=NOW + 50)
    assert then(slip, st, **late).status is status
    assert then(slip, st, **late).fault is None
    registered = then(then(slip, comp=V.ref(1)), st, out=V.ref("late"), **late)
    assert (registered.phase, registered.cause, registered.last) == (Phase.COMPENSATING, status, V.ref("late"))
    assert [s.act for s in registered.executed] == ["a", "b"]
    assert then(registered).status is Status.COMPENSATED


def test_expired_only_after_the_deadline() -> None:
    with pytest.raises(ItineraryError, match="before the deadline"):
        then(begin(dl=NOW + 50), "expired", iat=NOW + 49)
    with pytest.raises(ItineraryError, match="before the deadline"):
        then(begin(), "expired", iat=NOW + 3599)
    assert then(begin(), "expired", iat=NOW + 3600).status is Status.EXPIRED


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"wf": "other"}, ChainError),
        ({"seq": 1}, ChainError),
        ({"iat": NOW - 1}, ChainError),
        ({"step": "2"}, ItineraryError),
        ({"act": "b"}, ItineraryError),
        ({"dir": "undo"}, ItineraryError),
        ({"st": "skip"}, ItineraryError),
        ({"st": "fault"}, ItineraryError),  # without its error
        ({"err": ERR}, ItineraryError),
        ({"req": RequestClaim(h=V.ref(1).h)}, ItineraryError),
        ({"fork": ForkClaim(n=1, root=V.ref(1).h, policy=JoinPolicy(kind="all"))}, ItineraryError),
    ],
    ids=str,
)
def test_what_does_not_follow_is_refused(claims: dict[str, Any], error: type[Exception]) -> None:
    slip = begin()
    hop = hop_of(slip, draft_of(slip))
    apply(slip, hop)
    with pytest.raises(error):
        apply(slip, replace(hop, **claims))


@pytest.mark.parametrize("st", ["expired", "cancelled"])
def test_a_compensation_is_not_interrupted(st: str) -> None:
    slip = then(begin(), "fault", comp=V.ref(1))
    with pytest.raises(ItineraryError, match="undo cannot end as"):
        then(slip, st, iat=NOW + 3600)


@pytest.mark.parametrize("st", ["ok", "skip", "fault"])
@pytest.mark.parametrize("member", ["out", "comp", "req", "rev"])
def test_a_compensation_has_no_result(st: str, member: str) -> None:
    slip = then(begin(), "fault", comp=V.ref(1))
    then(slip, st)
    values = {"req": RequestClaim(h=V.ref(1).h), "rev": Revision(n=1, tail=(), why="x")}
    with pytest.raises(ItineraryError, match=f"'{member}' does not go with undo '{st}'"):
        then(slip, st, **{member: values.get(member, V.ref(1))})


@pytest.mark.parametrize(
    ("st", "member"), [("fault", "out"), ("fault", "req"), ("expired", "req"), ("cancelled", "err")]
)
def test_what_stopped_has_only_what_it_can_have(st: str, member: str) -> None:
    values = {"req": RequestClaim(h=V.ref(1).h), "err": ERR}
    with pytest.raises(ItineraryError, match=f"'{member}' does not go with do '{st}'"):
        then(begin(), st, **{member: values.get(member, V.ref(1)), "iat": NOW + 3600})


def test_the_last_result_is_that_of_the_last_step_even_if_it_has_none() -> None:
    assert then(then(begin(), out=V.ref(1))).last is None


def test_nothing_follows_the_end() -> None:
    running = then(begin(ActivitySpec("a"), ActivitySpec("a")))
    ended = then(running)
    with pytest.raises(ChainError, match="after the end"):
        apply(ended, hop_of(running, draft_of(running), seq=ended.seq))


def test_other_items_ask_for_another_release() -> None:
    origin = origin_of(build_steps(specs("a"), V.ref))
    waits = replace(origin, items=(*origin.items, Item(delay=Delay(id="d", seconds=1))))
    with pytest.raises(ItineraryError, match=r"'delay'.*upgrade the worker"):
        start(waits)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": "2"}, "two steps"),
        ({"scope": ("admin",)}, "wider scope"),
        ({"from_": {"r": Source(step="2")}}, "no earlier step"),
        ({"from_": {"r": Source(step="1")}}, "no earlier step"),
    ],
    ids=str,
)
def test_an_origin_that_contradicts_itself_is_refused(change: dict[str, Any], why: str) -> None:
    first, second = build_steps(specs("a", "b"), V.ref)
    changed = replace(first, **change)
    with pytest.raises(ItineraryError, match=why):
        start(origin_of([changed, second]))


def test_scopes_within_those_of_the_workflow_are_accepted() -> None:
    (step,) = build_steps(specs("a"), V.ref)
    scoped = replace(step, scope=("read",))
    assert start(origin_of([scoped], scope=("read", "write"))).remaining == (scoped,)


def test_only_what_is_read_later_travels_on() -> None:
    given = [
        ActivitySpec("a", {"x": "arguments of a"}),
        ActivitySpec("b", {"x": "arguments of b"}),
        ActivitySpec("c", {"r": ResultOf("a"), "x": "arguments of c"}),
    ]
    slip = begin(*given, vars={"v": V.ref("variable")})
    a, b, c = ({V.ref({"x": f"arguments of {name}"}).h} for name in "abc")
    variable, ra, rb = ({V.ref(v).h} for v in ("variable", "result of a", "result of b"))
    assert V.travelling(slip) == a | b | c | variable
    slip = then(slip, out=V.ref("result of a"))
    assert V.travelling(slip) == b | c | variable | ra
    undo = {V.ref("undo").h}
    slip = then(slip, out=V.ref("result of b"), comp=V.ref("undo"))
    assert V.travelling(slip) == c | variable | ra | rb | undo | b
    assert V.travelling(then(slip, out=V.ref("end"))) == variable | {V.ref("end").h}
    assert V.travelling(then(slip, "fault")) == variable | rb | undo | b | {ERR.h}
    assert V.travelling(then(then(slip, "fault"))) == variable | rb | {ERR.h}
