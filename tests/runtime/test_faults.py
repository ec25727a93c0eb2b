"""Retries, rate limits, permanent faults, time-outs: what an attempt can end in, and what follows."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from paigeant import (
    ActivityContext,
    ActivitySpec,
    ConfigurationError,
    PermanentFault,
    RetryAfter,
    RetryPolicy,
    TransientFault,
    WorkflowFailed,
    activity,
)
from paigeant.model.events import ActivityFaulted, ActivityRetrying

from ..support import NO_RETRY, PATIENCE, QUICK, Bed, Recorder, until


async def test_a_transient_fault_is_repeated_until_it_succeeds(bed: Bed) -> None:
    attempts: list[tuple[int, str]] = []

    @activity(retry=QUICK)
    async def flaky(ctx: ActivityContext) -> int:
        attempts.append((ctx.attempt, ctx.idempotency_key))
        if ctx.attempt < 3:
            raise TransientFault("not yet")
        return ctx.attempt

    outcome = await bed.run([ActivitySpec("flaky")], flaky)
    assert outcome.results["flaky"] == 3
    assert [number for number, _ in attempts] == [1, 2, 3]
    assert len({key for _, key in attempts}) == 1, "the idempotency key is that of the step, not of the attempt"


async def test_exhausted_attempts_fail_the_workflow_once(bed: Bed) -> None:
    recorder = Recorder()

    @activity(retry=QUICK)
    async def broken() -> None:
        raise ValueError("always, with token=secret123")

    workflow = await bed.dispatch([ActivitySpec("broken"), ActivitySpec("never")])
    async with bed.worker(broken, observers=[recorder]), bed.client() as client:
        with pytest.raises(WorkflowFailed) as failed:
            await client.result(workflow, timeout=PATIENCE)
    fault = failed.value.outcome.fault
    assert (fault.activity, fault.error) == ("broken", "ValueError")
    assert "always" in fault.message
    assert "secret123" not in fault.message
    assert [event.attempt for event in recorder.of(ActivityRetrying)] == [1, 2]
    assert [event.attempt for event in recorder.of(ActivityFaulted)] == [3]


async def test_the_step_may_ask_for_other_attempts_than_the_activity(bed: Bed) -> None:
    attempts: list[int] = []

    @activity(retry=QUICK)
    async def broken(ctx: ActivityContext) -> None:
        attempts.append(ctx.attempt)
        raise ValueError

    assert (await bed.run([ActivitySpec("broken", attempts=2)], broken)).status == "failed"
    assert attempts == [1, 2]


async def test_a_rate_limit_costs_no_attempt(bed: Bed) -> None:
    attempts: list[int] = []

    @activity(retry=NO_RETRY)
    async def limited(ctx: ActivityContext) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) < 5:
            raise RetryAfter(0.01)
        return "done"

    assert (await bed.run([ActivitySpec("limited")], limited)).results["limited"] == "done"
    assert attempts == [1] * 5


async def test_a_rate_limit_waits_as_long_as_it_says(bed: Bed) -> None:
    times: list[float] = []

    @activity
    async def limited() -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise RetryAfter(0.5)

    await bed.run([ActivitySpec("limited")], limited)
    assert times[1] - times[0] >= 0.45


async def test_a_permanent_fault_is_not_repeated(bed: Bed) -> None:
    attempts: list[int] = []

    @activity(retry=QUICK)
    async def broken(ctx: ActivityContext) -> None:
        attempts.append(ctx.attempt)
        raise PermanentFault("never")

    outcome = await bed.run([ActivitySpec("broken")], broken)
    assert outcome.status == "failed"
    assert attempts == [1]


async def test_a_permanent_fault_in_a_group_is_not_repeated_and_tells_its_cause(bed: Bed) -> None:
    attempts: list[int] = []

    async def never() -> None:
        raise PermanentFault("the account is closed, password=hunter2")

    @activity(retry=QUICK)
    async def broken(ctx: ActivityContext) -> None:
        attempts.append(ctx.attempt)
        async with asyncio.TaskGroup() as inner:
            inner.create_task(never())

    outcome = await bed.run([ActivitySpec("broken")], broken)
    assert attempts == [1]
    assert outcome.fault is not None
    assert "[PermanentFault: the account is closed, password=[redacted]]" in outcome.fault.message


async def test_a_permanent_fault_outweighs_what_else_is_in_its_group(memory: Bed) -> None:
    attempts: list[int] = []

    @activity(retry=QUICK)
    async def broken(ctx: ActivityContext) -> None:
        attempts.append(ctx.attempt)
        inner = ExceptionGroup("inner", [ValueError("b"), PermanentFault("never")])
        raise ExceptionGroup("outer", [RetryAfter(0.01), inner])

    assert (await memory.run([ActivitySpec("broken")], broken)).status == "failed"
    assert attempts == [1]


async def test_a_group_of_rate_limits_is_one_and_waits_for_the_longest(memory: Bed) -> None:
    times: list[float] = []

    @activity(retry=NO_RETRY)
    async def limited() -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise ExceptionGroup("many", [RetryAfter(0.01), ExceptionGroup("more", [RetryAfter(0.5)])])

    assert (await memory.run([ActivitySpec("limited")], limited)).status == "completed"
    assert times[1] - times[0] >= 0.45


async def test_a_rate_limit_beside_another_error_costs_an_attempt_and_is_waited_for(memory: Bed) -> None:
    times: list[float] = []

    @activity(retry=RetryPolicy(attempts=2, first_delay=0))
    async def limited() -> None:
        times.append(time.monotonic())
        raise ExceptionGroup("many", [ValueError("a"), RetryAfter(0.5)])

    assert (await memory.run([ActivitySpec("limited")], limited)).status == "failed"
    assert len(times) == 2
    assert times[1] - times[0] >= 0.45


@pytest.mark.parametrize("delay", ["5", None, float("nan")], ids=str)
def test_a_delay_that_is_none_is_refused(delay: Any) -> None:
    with pytest.raises(ConfigurationError, match="RetryAfter"):
        RetryAfter(delay)


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Loud(Exception):
    def __str__(self) -> str:
        return "x" * 1_000_000


class Panic(BaseException):
    """As extensions written in Rust raise it."""


NAMELESS = type("", (Exception,), {})


@pytest.mark.parametrize(
    "error",
    [
        Silent(),
        Loud(),
        NAMELESS("no name"),
        SystemExit(3),
        asyncio.CancelledError(),
        ExceptionGroup("many", [ValueError("a"), TypeError("b")]),
        Panic("index out of bounds"),
        BaseExceptionGroup("many", [Panic(), ValueError("a")]),
        StopAsyncIteration(),
        RecursionError(),
        TimeoutError(),
        ValueError("\ud800 \x00 \U0010ffff"),
    ],
    ids=lambda error: type(error).__name__ or "nameless",
)
async def test_whatever_an_activity_raises_is_a_fault_and_the_worker_goes_on(bed: Bed, error: BaseException) -> None:
    @activity(retry=NO_RETRY)
    async def broken() -> None:
        raise error

    @activity
    async def fine() -> int:
        return 1

    async with bed.worker(broken, fine):
        outcome = await bed.outcome(await bed.dispatch([ActivitySpec("broken")]))
        assert outcome.status == "failed"
        assert outcome.fault is not None
        assert len(outcome.fault.message.encode()) <= 8 * 1024
        assert (await bed.outcome(await bed.dispatch([ActivitySpec("fine")]))).status == "completed"


async def test_a_plain_function_may_raise_anything_too(bed: Bed) -> None:
    @activity(retry=NO_RETRY)
    def broken(kind: str) -> None:
        raise {"stop": StopIteration, "exit": SystemExit, "cancel": asyncio.CancelledError, "panic": Panic}[kind]

    async with bed.worker(broken):
        for kind in ("stop", "exit", "cancel", "panic"):
            outcome = await bed.outcome(await bed.dispatch([ActivitySpec("broken", {"kind": kind})]))
            assert outcome.status == "failed"


async def test_a_time_out_is_a_transient_fault_that_says_so(bed: Bed) -> None:
    stopped: list[int] = []

    @activity(retry=RetryPolicy(attempts=2, first_delay=0), timeout=0.05)
    async def slow(ctx: ActivityContext) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(ctx.attempt)
            raise

    outcome = await bed.run([ActivitySpec("slow")], slow)
    assert outcome.fault is not None
    assert outcome.fault.error == "TimeoutError"
    assert outcome.fault.message.endswith("activity 'slow' took longer than 0.05 s")
    assert stopped == [1, 2]


async def test_a_plain_function_is_told_of_its_time_out(bed: Bed) -> None:
    told = threading.Event()

    @activity(retry=NO_RETRY, timeout=0.05)
    def slow(ctx: ActivityContext) -> None:
        end = time.monotonic() + PATIENCE
        while not ctx.cancelled and time.monotonic() < end:
            time.sleep(0.01)
        if ctx.cancelled:
            told.set()

    assert (await bed.run([ActivitySpec("slow")], slow)).status == "failed"
    assert await asyncio.to_thread(told.wait, PATIENCE)


async def test_the_calls_for_plain_functions_are_refused_on_the_event_loop(memory: Bed) -> None:
    """They would wait for the loop that they hold up."""

    @activity
    async def book(ctx: ActivityContext, what: str) -> None:
        if what == "register":
            ctx.sync.register_compensation(seat="1a")
        ctx.sync.fetch_result_of("before")

    @book.compensate
    async def unbook(seat: str) -> None: ...

    for what in ("register", "fetch"):
        outcome = await memory.run([ActivitySpec("book", {"what": what})], book)
        assert outcome.fault is not None
        assert "`await` the call" in outcome.fault.message


async def test_an_async_activity_may_hand_the_calls_for_plain_functions_to_a_thread(memory: Bed) -> None:
    @activity
    async def before() -> str:
        return "seen"

    @activity
    async def book(ctx: ActivityContext) -> str:
        return str(await asyncio.to_thread(ctx.sync.fetch_result_of, before))

    outcome = await memory.run([before.spec(), book.spec()], before, book)
    assert outcome.results["book"] == "seen"


async def test_plain_functions_run_beside_the_loop_and_use_the_context(stored: Bed) -> None:
    undone: list[Any] = []
    threads: list[str] = []

    @activity
    def book(ctx: ActivityContext, seat: str) -> dict[str, str]:
        threads.append(threading.current_thread().name)
        ctx.sync.register_compensation(seat=seat)
        ctx.variables["seat"] = seat
        return {"seat": seat}

    @book.compensate
    def unbook(ctx: ActivityContext, seat: str) -> None:
        threads.append(threading.current_thread().name)
        undone.append((seat, ctx.direction, ctx.variables["seat"]))

    @activity
    async def between() -> None: ...

    @activity
    def fails(ctx: ActivityContext) -> None:
        raise PermanentFault(ctx.sync.fetch_result_of(book)["seat"])

    slip = [ActivitySpec("book", {"seat": "9A"}), ActivitySpec("between"), ActivitySpec("fails")]
    outcome = await stored.run(slip, book, between, fails)
    assert outcome.status == "compensated"
    assert outcome.fault is not None
    assert "9A" in outcome.fault.message
    assert undone == [("9A", "undo", "9A")]
    assert all(name.startswith("paigeant-activity") for name in threads)


async def test_concurrency_is_a_limit(bed: Bed) -> None:
    running, most = 0, 0

    @activity
    async def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    workflows = [await bed.dispatch([ActivitySpec("count")]) for _ in range(9)]
    async with bed.worker(count, concurrency=3):
        for workflow in workflows:
            assert (await bed.outcome(workflow)).status == "completed"
    assert most == 3


@pytest.mark.parametrize("exhausted", ["compensate", "park"])
async def test_each_failed_attempt_is_logged_with_its_text_the_last_one_too(
    memory: Bed, exhausted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "paigeant.activity")

    def guess(value: str) -> None:
        raise ValueError(f"attempt {len(tried)}, token=HIDDEN")

    tried: list[str] = []

    @activity(retry=QUICK)
    async def fails(value: str) -> None:
        tried.append(value)
        guess(value)

    async with memory.worker(fails):
        slip = ActivitySpec("fails", {"value": "PRIVATE"}, attempts=2, exhausted=exhausted)
        await memory.dispatch([slip])
        await until(lambda: "attempt 2," in caplog.text)
    for number in (1, 2):
        assert sum(f"ValueError: attempt {number}, token=[redacted]" in one for one in caplog.messages) == 1
    stacks = [one for one in caplog.messages if one.startswith("activity fails failed at\n")]
    assert len(stacks) == 2
    assert stacks[0].splitlines()[-1].endswith("in guess")
    assert "HIDDEN" not in caplog.text
    assert "PRIVATE" not in caplog.text
