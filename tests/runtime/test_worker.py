"""The worker around the activities: life span, middleware, observers, stopping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from paigeant import ActivityContext, ActivitySpec, ConfigurationError, Worker, activity
from paigeant.errors import SignerUnavailable
from paigeant.model.events import (
    ActivityCompleted,
    ActivityFaulted,
    ActivityRetrying,
    ActivityStarted,
    WorkflowEnded,
    WorkflowEvent,
)
from paigeant.state.ids import BranchKeys

from ..core.records_kit import Key, signed
from ..support import NO_RETRY, PATIENCE, QUICK, Bed, Recorder, until


@activity
async def fine(ctx: ActivityContext) -> int:
    return 1


SLIP = [ActivitySpec("fine")]


async def test_lifespan_gives_deps_and_ends_after_the_last_activity(bed: Bed) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncIterator[str]:
        log.append(f"open {len(worker.activities)}")
        yield "the pool"
        log.append("close")

    @activity
    async def uses(ctx: ActivityContext[str]) -> str:
        log.append(ctx.deps)
        return ctx.deps

    outcome = await bed.run([ActivitySpec("uses")], uses, worker={"lifespan": lifespan})
    assert outcome.results["uses"] == "the pool"
    assert log == ["open 1", "the pool", "close"]


async def test_a_lifespan_that_fails_fails_the_worker_and_leaves_nothing_behind(bed: Bed) -> None:
    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    with pytest.raises(OSError, match="no database"):
        async with bed.worker(fine, lifespan=lifespan):
            pass
    assert (await bed.run(SLIP, fine)).status == "completed"


async def test_middleware_wraps_every_attempt_first_is_outermost(bed: Bed) -> None:
    log: list[str] = []

    def named(name: str) -> Any:
        async def middleware(ctx: ActivityContext, call: Callable[[], Awaitable[Any]]) -> Any:
            log.append(f"{name} {ctx.attempt}")
            try:
                return await call()
            finally:
                log.append(f"/{name}")

        return middleware

    @activity(retry=QUICK)
    async def flaky(ctx: ActivityContext) -> None:
        log.append("run")
        if ctx.attempt == 1:
            raise ValueError

    await bed.run([ActivitySpec("flaky")], flaky, worker={"middleware": [named("a"), named("b")]})
    assert log == ["a 1", "b 1", "run", "/b", "/a", "a 2", "b 2", "run", "/b", "/a"]


@pytest.mark.parametrize("when", ["before", "after", "instead"])
async def test_what_middleware_raises_counts_as_raised_by_the_activity(bed: Bed, when: str) -> None:
    async def middleware(ctx: ActivityContext, call: Callable[[], Awaitable[Any]]) -> Any:
        if when == "instead":
            return "not an int"
        if when == "after":
            await call()
        raise ValueError(f"middleware, {when}")

    @activity(retry=NO_RETRY)
    async def number() -> int:
        return 1

    async with bed.worker(number, middleware=[middleware]):
        outcome = await bed.outcome(await bed.dispatch([ActivitySpec("number")]))
        assert outcome.status == "failed"
        assert outcome.fault is not None
        assert outcome.fault.activity == "number"


class Raises:
    async def on_event(self, event: WorkflowEvent) -> None:
        raise ValueError("observer")


class Forgetful:
    def on_event(self, event: WorkflowEvent) -> None:  # not async
        pass


class Hangs:
    async def on_event(self, event: WorkflowEvent) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("observer", [Raises(), Hangs()], ids=lambda one: type(one).__name__)
async def test_a_workflow_does_not_notice_its_observers(
    bed: Bed, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paigeant.runtime.notifier.PATIENCE", 0.05)
    recorder = Recorder()
    outcome = await bed.run(SLIP * 2, fine, worker={"observers": [observer, recorder]})
    assert outcome.status == "completed"
    assert len(recorder.of(ActivityCompleted)) == 2


async def test_events_tell_each_fact_with_an_id_of_its_own(bed: Bed) -> None:
    recorder = Recorder()

    @activity(retry=QUICK)
    async def broken(ctx: ActivityContext) -> None:
        raise ValueError

    workflow = await bed.dispatch([ActivitySpec("fine"), ActivitySpec("broken")])
    async with bed.worker(fine, broken, observers=[recorder], name="me"):
        await bed.outcome(workflow)
    assert recorder.kinds() == [
        *("ActivityStarted", "ActivityCompleted"),
        *("ActivityStarted", "ActivityRetrying", "ActivityStarted", "ActivityRetrying"),
        *("ActivityStarted", "ActivityFaulted", "WorkflowEnded"),
    ]
    ids = [event.id for event in recorder.events]
    assert len(set(ids)) == len(ids)
    assert {event.workflow for event in recorder.events} == {workflow}
    assert [event.attempt for event in recorder.of(ActivityStarted)] == [1, 1, 2, 3]
    assert {event.worker for kind in (ActivityStarted, ActivityRetrying) for event in recorder.of(kind)} == {"me"}
    assert [event.status for event in recorder.of(WorkflowEnded)] == ["failed"]
    assert [event.error for event in recorder.of(ActivityFaulted)] == ["ValueError"]


async def test_logs_and_events_hold_no_payload(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()

    @activity
    async def secret(ctx: ActivityContext, value: str) -> str:
        ctx.variables["kept"] = value
        return value

    with caplog.at_level(logging.DEBUG):
        slip = [ActivitySpec("secret", {"value": "payload-4711"})]
        await bed.run(slip, secret, worker={"observers": [recorder]})
    assert "payload-4711" not in caplog.text
    assert "payload-4711" not in repr(recorder.events)


async def test_a_signer_that_is_down_is_waited_out(bed: Bed) -> None:
    class Flaky(Key):
        down = 0

        async def sign(self, signing_input: bytes) -> bytes:
            if self.down:
                self.down -= 1
                raise ConnectionError("vault is sealed")
            return await super().sign(signing_input)

    key = Flaky()
    keys = signed(key, namespace="default")
    ran: list[int] = []

    @activity(retry=NO_RETRY)
    async def once() -> None:
        ran.append(1)
        key.down = 2

    async with bed.dispatcher(security=keys) as dispatcher, bed.client(security=keys) as client:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("once")])
        async with bed.worker(once, security=keys):
            assert (await client.outcome(workflow, timeout=10)).status == "completed"
        assert ran == [1], "the step is done; only its record waited"
        key.down = 1
        with pytest.raises(SignerUnavailable, match="vault is sealed"):
            await dispatcher.dispatch_workflow([ActivitySpec("once")])
        assert (await bed.transport.queues("once"))["once"].ready == 0


async def test_a_worker_of_other_activities_leaves_a_shared_queue_to_others(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paigeant.runtime.reception.NOT_SERVED_DELAY", 0.05)

    @activity("left", queue="desk")
    async def left() -> str:
        return "left"

    @activity("right", queue="desk")
    async def right() -> str:
        return "right"

    workflow = await bed.dispatch([right.spec(), left.spec()])
    async with bed.worker(left), bed.worker(right):
        outcome = await bed.outcome(workflow)
    assert outcome.status == "completed"
    assert await bed.all_dead() == []


async def test_a_next_activity_that_nobody_serves_waits(stored: Bed) -> None:
    workflow = await stored.dispatch([ActivitySpec("fine"), ActivitySpec("nobody")])
    async with stored.worker(fine), stored.client() as client:

        async def second() -> bool:
            return (await client.status(workflow)).seq == 1

        await until(second)
        assert (await client.status(workflow)).consumers == 0

    @activity
    async def nobody() -> None: ...

    async with stored.worker(nobody):
        assert (await stored.outcome(workflow)).status == "completed"


@pytest.mark.parametrize("activities", [[], [fine, activity("fine")(lambda ctx: 1)], [lambda: 1]])
def test_nonsense_is_refused_when_the_worker_is_made(activities: list[Any]) -> None:
    from paigeant.builtin.inmemory.transport import InMemoryTransport

    with pytest.raises(ConfigurationError):
        Worker(InMemoryTransport(), activities)


@pytest.mark.parametrize("activities", [None, 5, fine], ids=str)
def test_what_is_no_list_of_activities_is_refused(memory: Bed, activities: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a list of activities"):
        Worker(memory.transport, activities)


@pytest.mark.parametrize(
    "option",
    [
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": "x"},
        {"concurrency": 1.5},
        {"concurrency": True},
        {"lease": 0},
        {"lease": -1},
        {"lease": "x"},
        {"lease": float("nan")},
        {"lease": timedelta(0)},
        {"lease": timedelta(days=2)},
        {"grace": -1},
        {"grace": "x"},
        {"grace": timedelta(seconds=-1)},
        {"middleware": [1]},
        {"middleware": 5},
        {"observers": ["x"]},
        {"observers": 5},
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_when_the_worker_is_made(memory: Bed, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(option))}="):
        memory.worker(fine, **option)


@pytest.mark.parametrize("wrong", [object, Forgetful])
async def test_what_is_no_observer_is_refused(wrong: type[Any], memory: Bed) -> None:
    for make in (partial(memory.worker, fine), memory.dispatcher, memory.client):
        with pytest.raises(ConfigurationError, match="observers="):
            make(observers=[wrong()])


async def test_lease_and_grace_may_be_timedeltas(bed: Bed) -> None:
    async with bed.worker(fine, lease=timedelta(seconds=7), grace=timedelta(seconds=3)):
        with pytest.raises(ConfigurationError, match="lease of 7 s"):
            async with bed.transport.consume(["fine"], lease=8.0):
                pass
        assert (await bed.outcome(await bed.dispatch(SLIP))).status == "completed"


async def test_without_a_grace_period_a_worker_waits_for_nobody(bed: Bed) -> None:
    running = asyncio.Event()

    @activity
    async def slow() -> None:
        running.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE):
        async with bed.worker(slow, grace=timedelta(0)):
            await bed.dispatch([ActivitySpec("slow")])
            await running.wait()


async def test_a_broken_cursor_harms_no_other_workflow(stored: Bed) -> None:
    broken = await stored.dispatch(SLIP)
    key = BranchKeys.of(broken).cursor
    for junk in (b"", b"\n", b"junk", b'{"v":9}\n', b'{"v":1,"sudo":1}\n', b'{"v":1,"q":"x"}\n', b"\xff\n"):
        await stored.state.put(key, junk, due=0.0)
        async with stored.worker(fine):
            assert (await stored.outcome(await stored.dispatch(SLIP))).status == "completed"
    entry = await stored.state.get(key)
    assert entry is not None
    assert entry.value == junk
