"""From results to transitions: retries, exhaustion, parking."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paigeant.errors import ConfigurationError, ItineraryError
from paigeant.routing import (
    ActivitySpec,
    Commit,
    Failed,
    Park,
    Retry,
    RetryPolicy,
    Slip,
    Succeeded,
    advance,
    apply,
    build_steps,
    start,
)

from .records_kit import Values, draft_of, hop_of, origin_of

V = Values()
TEXT = V.ref("text").h


def begin(*given: ActivitySpec) -> Slip:
    return start(origin_of(build_steps(given or [ActivitySpec("a"), ActivitySpec("b")], V.ref)))


def decide(slip: Slip, result: Any, attempt: int = 1, policy: RetryPolicy | None = None) -> Any:
    return advance(slip, result, attempt=attempt, policy=policy or RetryPolicy(jitter=False), random=0.5)


def failed(kind: Any = "transient", **members: Any) -> Failed:
    return Failed("Boom", TEXT, kind, **members)


def test_a_success_is_committed_with_all_it_brought() -> None:
    result = Succeeded(out=V.ref(1), variables={"v": None}, comp=V.ref(2), usage={"tokens": 3})
    draft = decide(begin(), result, attempt=2).draft
    assert (draft.step, draft.act, draft.dir, draft.att, draft.st) == ("1", "a", "do", 2, "ok")
    assert (draft.out, draft.vars, draft.comp, draft.usage) == (V.ref(1), {"v": None}, V.ref(2), {"tokens": 3})


def test_transient_faults_are_repeated_with_growing_delays_until_exhausted() -> None:
    assert decide(begin(), failed(), 1) == Retry(1.0, counted=True)
    assert decide(begin(), failed(), 2) == Retry(2.0, counted=True)
    draft = decide(begin(), failed(comp=V.ref(1), variables={"v": V.ref(2)}), 3).draft
    assert (draft.st, draft.att, draft.comp, draft.vars) == ("fault", 3, V.ref(1), {"v": V.ref(2)})
    assert (draft.err.class_, draft.err.h) == ("Boom", TEXT)


def test_exhaustion_is_judged_after_an_execution_only() -> None:
    assert isinstance(decide(begin(), Succeeded(), attempt=99), Commit)
    assert decide(begin(), failed(), attempt=99).draft.st == "fault"


def test_the_step_overrides_the_attempts_of_the_activity() -> None:
    assert isinstance(decide(begin(ActivitySpec("a", attempts=5)), failed(), 4), Retry)
    assert decide(begin(ActivitySpec("a", attempts=1)), failed(), 1).draft.st == "fault"


def test_a_permanent_fault_is_not_repeated() -> None:
    assert decide(begin(), failed("permanent"), 1).draft.st == "fault"


def test_a_rate_limit_costs_no_attempt_however_often() -> None:
    assert decide(begin(), failed("rate-limited", delay=7.5), 3) == Retry(7.5, counted=False)
    assert decide(begin(), failed("rate-limited"), 2) == Retry(2.0, counted=False)


@pytest.mark.parametrize(
    ("delay", "used"), [(-5.0, 0.0), (float("inf"), 366 * 86400.0), (float("-inf"), 0.0), (float("nan"), 1.0)]
)
def test_a_senseless_delay_is_made_sensible(delay: float, used: float) -> None:
    assert decide(begin(), failed("rate-limited", delay=delay)) == Retry(used, counted=False)


def test_parking_instead_of_faulting() -> None:
    parks = begin(ActivitySpec("a", exhausted="park"))
    assert decide(parks, failed(), 3) == Park("exhausted")
    assert decide(parks, failed("permanent"), 1) == Park("permanent")
    assert isinstance(decide(parks, failed(), 1), Retry)


def test_after_a_pivot_a_fault_parks() -> None:
    slip = begin(ActivitySpec("a", pivot=True), ActivitySpec("b"))
    assert decide(slip, failed(), 3).draft.st == "fault"  # the pivot itself may fail
    slip = apply(slip, hop_of(slip, draft_of(slip)))
    assert decide(slip, failed(), 3) == Park("exhausted")
    assert decide(slip, failed("permanent"), 1) == Park("permanent")


@pytest.mark.parametrize(
    ("policy", "expected"), [(None, Commit), ("halt", Commit), ("continue", Commit), ("park", Park)]
)
def test_an_exhausted_compensation(policy: Any, expected: type) -> None:
    slip = begin(ActivitySpec("a", on_undo_failure=policy, exhausted="park"))
    fault = decide(begin(ActivitySpec("a", on_undo_failure=policy)), failed("permanent", comp=V.ref(1))).draft
    slip = apply(slip, hop_of(slip, fault))
    assert isinstance(decide(slip, failed(), 2), Retry)
    assert isinstance(decide(slip, failed(), 3), expected)
    undone = decide(slip, Succeeded(out=V.ref(1), comp=V.ref(2)), 3).draft
    assert (undone.dir, undone.st, undone.out, undone.comp) == ("undo", "ok", None, None)


def test_nothing_advances_an_ended_workflow() -> None:
    slip = begin(ActivitySpec("a"))
    slip = apply(slip, hop_of(slip, draft_of(slip)))
    with pytest.raises(ItineraryError, match="has ended"):
        decide(slip, Succeeded())


def test_policy_takes_seconds_or_timedeltas() -> None:
    policy = RetryPolicy(first_delay=timedelta(seconds=2), max_delay=timedelta(minutes=1), jitter=False)
    assert [policy.delay(n, 0.9) for n in (1, 2, 5, 6, 10_000)] == [2, 4, 32, 60, 60]


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1001},
        {"attempts": True},
        {"attempts": 1.0},
        {"first_delay": -1},
        {"first_delay": float("nan")},
        {"first_delay": "1"},
        {"max_delay": float("inf")},
        {"max_delay": timedelta(seconds=-1)},
        {"factor": 0.5},
        {"factor": 10**400},
        {"factor": True},
    ],
    ids=str,
)
def test_a_senseless_policy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"RetryPolicy: {next(iter(wrong))}="):
        RetryPolicy(**wrong)


@given(
    attempt=st.integers(1, 10_000),
    random=st.floats(0, 1, exclude_max=True),
    first=st.floats(0, 1e6),
    cap=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
)
def test_full_jitter_is_between_zero_and_the_cap(
    attempt: int, random: float, first: float, cap: float, factor: float
) -> None:
    delay = RetryPolicy(first_delay=first, max_delay=cap, factor=factor).delay(attempt, random)
    longest = RetryPolicy(first_delay=first, max_delay=cap, factor=factor, jitter=False).delay(attempt, random)
    assert 0 <= delay == longest * random <= longest <= cap
