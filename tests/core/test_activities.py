"""What may be an activity, and what the decorator says of the rest."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from paigeant import Activity, ConfigurationError, activity


async def fine(x: int) -> int:
    return x


async def items(x: int) -> AsyncIterator[int]:
    yield x


def lines(x: int) -> Iterator[int]:
    yield x


class Callable:
    async def __call__(self, x: int) -> int:
        return x

    async def method(self, x: int) -> int:
        return x

    @staticmethod
    def static(x: int) -> int:
        return x


def _kind(value: object) -> str:
    return value.__name__ if isinstance(value, type) else f"a-{type(value).__name__}"


NO_FUNCTIONS = [Callable(), Callable, functools.partial(fine, 1), activity("a")(fine), 5, int, max]


@pytest.mark.parametrize("given", [*NO_FUNCTIONS, None], ids=_kind)
def test_what_is_no_function_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a function"):
        activity("named")(given)
    with pytest.raises(ConfigurationError, match="handler of activity 'fine' must be a function"):
        activity("fine")(fine).compensate(given)


@pytest.mark.parametrize("given", NO_FUNCTIONS, ids=_kind)
def test_what_is_no_function_is_refused_without_a_name_too(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a function"):
        activity(given)


@pytest.mark.parametrize("given", [items, lines], ids=["async", "plain"])
def test_a_generator_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"must not be a generator, as '{given.__name__}' is"):
        activity("items")(given)
    with pytest.raises(ConfigurationError, match="must not be a generator"):
        activity(given)
    with pytest.raises(ConfigurationError, match="handler of activity 'fine' must not be"):
        activity("fine")(fine).compensate(given)


def test_a_method_of_no_object_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'Callable.method' is a method, and a worker has no object"):
        activity(Callable.method)
    with pytest.raises(ConfigurationError, match="handler of activity 'fine' must be a function, but"):
        activity("fine")(fine).compensate(Callable.method)


@pytest.mark.parametrize("given", [fine, Callable().method, Callable.static, functools.lru_cache(fine), lambda x: x])
def test_functions_of_any_kind_are_activities(given: Any) -> None:
    assert isinstance(activity("named")(given), Activity)


@pytest.mark.parametrize("timeout", ["5", [5], float("nan"), 0, -1, True, timedelta(0)], ids=str)
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout="):
        activity("named", timeout=timeout)(fine)


def test_a_timeout_is_a_timedelta_or_seconds() -> None:
    assert activity("named", timeout=timedelta(minutes=1))(fine).timeout == 60.0
    assert activity("named", timeout=0.5)(fine).timeout == 0.5
    assert activity("named")(fine).timeout is None


def test_a_retry_that_is_no_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'fine': retry=3 must be a RetryPolicy\(attempts="):
        activity(retry=3)(fine)  # type: ignore[call-overload]
