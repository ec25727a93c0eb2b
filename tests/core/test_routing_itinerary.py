"""What callers write, and the steps made of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel

from paigeant.errors import InvalidWorkflow
from paigeant.model.records import RevisionGrant, Source, StepPolicy
from paigeant.routing import ActivitySpec, ResultOf, build_steps, check_records, revision_ids

from .records_kit import Values, specs


def test_ids_are_positions_and_queues_are_names_by_default() -> None:
    steps = build_steps([ActivitySpec("a"), ActivitySpec("b", queue="fast", id="mine")], Values().ref)
    assert [(s.id, s.act, s.q) for s in steps] == [("1", "a", "a"), ("mine", "b", "fast")]
    assert steps[0].policy is steps[0].comp is steps[0].pin is steps[0].from_ is None


def test_options_become_signed_members() -> None:
    spec = ActivitySpec("a", attempts=5, exhausted="park", on_undo_failure="continue", pin=True, pivot=True)
    (step,) = build_steps([spec], Values().ref)
    assert step.policy == StepPolicy(attempts=5, exhausted="park", pivot=True)
    assert (step.comp, step.pin) == ("continue", True)


def test_plain_arguments_are_one_value_and_results_are_references() -> None:
    encoded: list[tuple[object, str]] = []
    values = Values()

    def encode(value: object, what: str) -> Any:
        encoded.append((value, what))
        return values.ref(value)

    given = [ActivitySpec("a"), ActivitySpec("b", {"x": 1, "r": ResultOf("a", "rows", 0, "id"), "none": None})]
    _, step = build_steps(given, encode)
    assert encoded == [({}, "the arguments of activity 'a'"), ({"x": 1, "none": None}, "the arguments of activity 'b'")]
    assert step.from_ == {"r": Source(step="1", path=("rows", 0, "id"))}


def test_a_result_is_that_of_the_latest_step_before() -> None:
    given = [ActivitySpec("a"), ActivitySpec("a"), ActivitySpec("b", {"r": ResultOf("a")}), ActivitySpec("a")]
    assert build_steps(given, Values().ref)[2].from_ == {"r": Source(step="2")}
    given[0] = ActivitySpec("a", id="first")
    given[2] = ActivitySpec("b", {"r": ResultOf("first")})
    assert build_steps(given, Values().ref)[2].from_ == {"r": Source(step="first")}


def test_a_result_of_a_step_that_ran_before_a_revision() -> None:
    earlier = build_steps(specs("a", "b"), Values().ref)
    new = build_steps(
        [ActivitySpec("c", {"r": ResultOf("a")}), ActivitySpec("d", {"r": ResultOf("c")})],
        Values().ref,
        earlier=earlier,
        ids=revision_ids(2),
    )
    assert [s.id for s in new] == ["r2.1", "r2.2"]
    assert [s.from_ for s in new] == [{"r": Source(step="1")}, {"r": Source(step="r2.1")}]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([ActivitySpec("a", {"r": ResultOf("b")}), ActivitySpec("b")], "'b' comes later"),
        ([ActivitySpec("a", {"r": ResultOf("a")})], "'a' comes later"),
        ([ActivitySpec("a", {"r": ResultOf("zzz")})], "'zzz' is not in the itinerary"),
    ],
)
def test_a_result_of_no_earlier_step_is_refused(given: list[ActivitySpec], why: str) -> None:
    with pytest.raises(InvalidWorkflow, match=r"activity 'a', argument 'r'") as caught:
        build_steps(given, Values().ref)
    assert why in str(caught.value)


@dataclasses.dataclass
class Data:
    inner: Any


class Model(BaseModel):
    inner: Any


_cyclic: list[Any] = []
_cyclic += [_cyclic, ResultOf("a")]


@pytest.mark.parametrize(
    "value",
    [
        [ResultOf("a")],
        {"k": (1, ResultOf("a"))},
        {ResultOf("a")},
        Data([ResultOf("a")]),
        Model(inner=ResultOf("a")),
        _cyclic,
    ],
    ids=["list", "tuple", "set", "dataclass", "model", "cycle"],
)
def test_a_result_inside_another_value_is_refused(value: object) -> None:
    with pytest.raises(InvalidWorkflow, match=r"activity 'b', argument 'r'.*an argument of its own"):
        build_steps([ActivitySpec("a"), ActivitySpec("b", {"r": value})], Values().ref)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "empty"),
        ("abc", "got str"),
        (ActivitySpec("a"), "got ActivitySpec"),
        (["a"], r"item 1.*spec\(\) of an activity.*'a'"),
        ([ActivitySpec("a", id="x"), ActivitySpec("b", id="x")], "activity 'b'.*'x'"),
        ([ActivitySpec("a"), ActivitySpec("b", id="1")], "activity 'b'.*'1'"),
        ([ActivitySpec("b"), ActivitySpec("a", id="b")], "activity 'a': the id 'b'.*another id"),
        ([ActivitySpec("a", id="b"), ActivitySpec("b")], "activity 'a': the id 'b'.*another id"),
        ([ActivitySpec("2"), ActivitySpec("a")], "activity 'a': the id '2'.*another id"),
    ],
)
def test_what_is_no_itinerary_is_refused(given: Any, why: str) -> None:
    with pytest.raises(InvalidWorkflow, match=why):
        build_steps(given, Values().ref)


def test_the_id_of_a_step_may_be_the_name_of_its_own_activity() -> None:
    given = [ActivitySpec("a", id="a"), ActivitySpec("a"), ActivitySpec("b", {"r": ResultOf("a")})]
    assert build_steps(given, Values().ref)[2].from_ == {"r": Source(step="2")}


@pytest.mark.parametrize(
    ("earlier", "new"),
    [
        (ActivitySpec("a", id="b"), ActivitySpec("b")),
        (ActivitySpec("b"), ActivitySpec("a", id="b")),
    ],
    ids=["new activity", "new id"],
)
def test_a_revision_cannot_make_a_name_mean_two_steps(earlier: ActivitySpec, new: ActivitySpec) -> None:
    before = build_steps([earlier], Values().ref)
    with pytest.raises(InvalidWorkflow, match="activity 'a': the id 'b'"):
        build_steps([new], Values().ref, earlier=before, ids=revision_ids(1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "UPPER"},
        {"name": ""},
        {"name": 7},
        {"name": "a.dead"},
        {"queue": "a..b"},
        {"queue": "a.dead"},
        {"id": "with space"},
        {"id": ""},
        {"id": "x" * 65},
        {"id": 7},
        {"attempts": 0},
        {"attempts": 1001},
        {"attempts": True},
        {"attempts": 2.0},
        {"exhausted": "retry"},
        {"on_undo_failure": "ignore"},
        {"pin": 1},
        {"pivot": "yes"},
        {"arguments": ["x"]},
        {"arguments": {1: "x"}},
        {"arguments": {"": "x"}},
        {"arguments": {"k" * 129: "x"}},
        {"arguments": {"\ud800": "x"}},
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidWorkflow):
        ActivitySpec(**{"name": "a", **wrong})


@pytest.mark.parametrize("part", [1.5, None, True, "\ud800", 2**53])
def test_a_wrong_path_is_refused(part: Any) -> None:
    with pytest.raises(InvalidWorkflow, match="neither a key nor an index"):
        ResultOf("a", part)


def test_a_wrong_step_is_refused() -> None:
    with pytest.raises(InvalidWorkflow, match="expected the id or activity name"):
        ResultOf(3)  # type: ignore[arg-type]


def test_the_spec_keeps_its_own_copy_of_the_arguments() -> None:
    arguments = {"x": 1}
    spec = ActivitySpec("a", arguments)
    arguments["x"] = 2
    assert spec.arguments == {"x": 1}


def test_the_longest_history_must_fit() -> None:
    steps = build_steps(specs(*["a"] * 127), Values().ref)
    check_records(steps)  # 255 records
    with pytest.raises(InvalidWorkflow, match="257 records"):
        check_records(build_steps(specs(*["a"] * 128), Values().ref))
    with pytest.raises(InvalidWorkflow, match="401 records"):
        check_records(steps, RevisionGrant(by=(), acts=(), max=200))
    with pytest.raises(InvalidWorkflow, match=r"256 allowed, which is 127 steps; .* raise PAIGEANT_MAX_RECORDS"):
        check_records(build_steps(specs(*["a"] * 128), Values().ref))
    check_records(steps, RevisionGrant(by=(), acts=(), max=200), max_records=401)
    with pytest.raises(InvalidWorkflow, match="1025 records, more than the 1024"):
        check_records(steps, RevisionGrant(by=(), acts=(), max=512), max_records=100_000)
