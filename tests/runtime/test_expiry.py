"""A workflow ends when it has expired, wherever it stands, as long as any worker runs in the namespace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivitySpec, PermanentFault, RetryAfter, RetryPolicy, WorkflowClient, WorkflowFailed, activity
from paigeant.model.events import WorkflowEnded
from paigeant.testing import VirtualClock

from ..support import MODES, NO_RETRY, PATIENCE, STORED, Bed, Mode, Recorder, until

EXPIRES = 60.0
LATE = EXPIRES + 310.0


@activity("other")
async def other() -> None: ...


@activity("one")
async def one() -> int:
    return 1


@activity("broken", retry=NO_RETRY)
async def broken() -> None:
    raise PermanentFault("no")


@activity("again", retry=RetryPolicy(attempts=3, first_delay=3, jitter=False))
async def again() -> None:
    raise ValueError("not yet")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=STORED)
async def bed(request: Any, tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Bed]:
    async with Bed("inmemory", request.param, tmp_path, clock=clock) as bed:
        yield bed


async def stands(client: WorkflowClient, workflow: str, *states: str) -> bool:
    return (await client.status(workflow)).state in states


async def dispatch(bed: Bed, clock: VirtualClock, *names: str) -> str:
    async with bed.dispatcher(clock=clock) as dispatcher:
        slip = [ActivitySpec(name, exhausted="park" if name == "broken" else None) for name in names]
        return await dispatcher.dispatch_workflow(slip, expires=EXPIRES)


@pytest.mark.parametrize("names", [("nobody",), ("one", "nobody")])
async def test_a_workflow_that_nobody_serves_expires(bed: Bed, clock: VirtualClock, names: tuple[str, ...]) -> None:
    recorder = Recorder()
    workflow = await dispatch(bed, clock, *names)
    async with bed.worker(other, one, clock=clock, observers=[recorder]), bed.client(clock=clock) as client:

        async def arrived() -> bool:
            return (await client.status(workflow)).seq == len(names) - 1

        await until(arrived)
        assert await stands(client, workflow, "ready")
        await clock.advance(LATE)
        await until(lambda: stands(client, workflow, "ended"))
        with pytest.raises(WorkflowFailed, match="is expired"):
            await client.result(workflow, timeout=10)
    [ended] = recorder.of(WorkflowEnded)
    assert ended.status == "expired"


async def test_a_retry_that_nobody_serves_any_more_expires(bed: Bed, clock: VirtualClock) -> None:
    """Its message waits in the broker."""
    workflow = await dispatch(bed, clock, "again")
    async with bed.client(clock=clock) as client:
        async with bed.worker(again, clock=clock):
            await until(lambda: stands(client, workflow, "waiting"))
        async with bed.worker(other, clock=clock):
            await clock.advance(LATE)
            await until(lambda: stands(client, workflow, "ended"))
        assert (await client.outcome(workflow, timeout=10)).status == "expired"


async def test_a_parked_workflow_that_expires_leaves_the_index(bed: Bed, clock: VirtualClock) -> None:
    workflow = await dispatch(bed, clock, "broken")
    async with bed.worker(broken, clock=clock), bed.client(clock=clock) as client:
        await until(lambda: stands(client, workflow, "parked"))
        assert len(await bed.state.scan("parked/")) == 1
        await clock.advance(EXPIRES + 5)
        await until(lambda: stands(client, workflow, "ended"))

        async def forgotten() -> bool:
            return not await bed.state.scan("parked/")

        await until(forgotten)


async def test_the_index_forgets_a_parked_workflow_that_nobody_sweeps(bed: Bed, clock: VirtualClock) -> None:
    workflow = await dispatch(bed, clock, "broken")
    async with bed.client(clock=clock) as client:
        async with bed.worker(broken, clock=clock):
            await until(lambda: stands(client, workflow, "parked"))
        await clock.advance(LATE)
    assert await bed.state.scan("parked/") == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_step_that_takes_longer_than_its_workflow_has_ends_it(
    mode: Mode, tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing may be recorded any more; the message is dealt with all the same."""
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")

    @activity("slow")
    async def slow() -> int:
        await clock.advance(LATE)
        return 1

    recorder = Recorder()
    async with (
        Bed("inmemory", mode, tmp_path, clock=clock) as bed,
        bed.worker(slow, clock=clock, lease=10 * LATE, observers=[recorder]),
        bed.dispatcher(clock=clock) as dispatcher,
        bed.client(clock=clock) as client,
    ):
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("slow")], expires=EXPIRES)
        assert (await client.outcome(workflow)).status == "expired"

        async def settled() -> bool:
            stats = (await bed.transport.queues("slow"))["slow"]
            return (stats.ready, stats.in_flight, stats.delayed) == (0, 0, 0)

        await until(settled)
    ends = recorder.of(WorkflowEnded)
    assert {event.status for event in ends} == {"expired"}
    assert len({event.id for event in ends}) == 1, "whoever saw it first"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_wait_that_is_longer_than_its_workflow_has_ends_with_it(
    mode: Mode, tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    began = asyncio.Event()

    @activity("limited")
    async def limited() -> None:
        began.set()
        raise RetryAfter(100 * LATE)

    async with (
        Bed("inmemory", mode, tmp_path, clock=clock) as bed,
        bed.worker(limited, clock=clock),
        bed.dispatcher(clock=clock) as dispatcher,
        bed.client(clock=clock) as client,
    ):
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("limited")], expires=EXPIRES)
        await began.wait()

        async def put_off() -> bool:
            stats = (await bed.transport.queues("limited"))["limited"]
            return not stats.ready and not stats.in_flight

        await until(put_off)
        await clock.advance(LATE)
        async with asyncio.timeout(PATIENCE):
            assert (await client.outcome(workflow)).status == "expired"
