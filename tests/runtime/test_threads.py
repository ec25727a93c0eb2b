"""Plain functions in threads: beside each other, and beside those that do not return."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from paigeant import ActivitySpec, RetryPolicy, activity

from ..support import NO_RETRY, PATIENCE, Bed, until


async def test_plain_functions_run_at_the_same_time_up_to_the_concurrency(memory: Bed) -> None:
    running = threading.Barrier(4)

    @activity(retry=NO_RETRY)
    def together() -> None:
        running.wait(PATIENCE)

    workflows = [await memory.dispatch([ActivitySpec("together")]) for _ in range(4)]
    async with memory.worker(together, concurrency=4):
        assert {(await memory.outcome(workflow)).status for workflow in workflows} == {"completed"}


async def test_a_stuck_plain_function_does_not_starve_the_next(memory: Bed) -> None:
    release = threading.Event()

    @activity(retry=NO_RETRY, timeout=0.05)
    def stuck() -> None:
        release.wait(PATIENCE)

    @activity(retry=NO_RETRY, timeout=5)
    def fine() -> int:
        return 1

    try:
        async with memory.worker(stuck, fine, concurrency=1):
            assert (await memory.outcome(await memory.dispatch([ActivitySpec("stuck")]))).status == "failed"
            assert (await memory.outcome(await memory.dispatch([ActivitySpec("fine")]))).status == "completed"
    finally:
        release.set()


async def test_no_activity_leaves_more_threads_behind_than_it_has_slots(
    memory: Bed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paigeant.runtime.threads.PUT_OFF", 0.02)
    release, alive, most = threading.Event(), 0, 0

    @activity(retry=RetryPolicy(attempts=5, first_delay=0.01), timeout=0.1)
    def stuck() -> None:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        release.wait(PATIENCE)
        alive -= 1

    async with memory.worker(stuck, concurrency=2):
        workflow = await memory.dispatch([stuck.spec()])
        await until(lambda: "so do 2, and at 2" in caplog.text)
        async with memory.client() as client:
            assert (await client.status(workflow)).state != "ended"
            release.set()
            assert (await client.outcome(workflow, timeout=PATIENCE)).status == "completed"
    assert most == 2


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as people write them, for functions of both kinds."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        return function(*args, **options)

    return call


async def test_what_a_plain_wrapper_returns_is_awaited(memory: Bed) -> None:
    @activity("work")
    @logged
    async def work(x: int) -> int:
        return x + 1

    @activity("plain")
    @logged
    def plain(x: int) -> int:
        return x + 2

    outcome = await memory.run([ActivitySpec("work", {"x": 1}), ActivitySpec("plain", {"x": 1})], work, plain)
    assert outcome.results == {"work": 2, "plain": 3}
