"""Stopping: grace, giving back, at once."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from paigeant import Activity, ActivityContext, ActivitySpec, activity
from paigeant.errors import BackendUnavailable
from paigeant.state.cursor import Cursor, State
from paigeant.state.ids import BranchKeys

from ..support import KINDS, PATIENCE, Bed, Kind, Lingering, until


@activity
async def fine(ctx: ActivityContext) -> int:
    return 1


SLIP = [ActivitySpec("fine")]


def _endless(running: asyncio.Event) -> Activity[..., Any]:
    """An activity that tells that it runs, and goes on until it is cancelled."""

    @activity
    async def slow() -> None:
        running.set()
        await asyncio.Event().wait()

    return slow


async def test_stopping_lets_activities_finish_within_the_grace_period(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "paigeant.worker")
    running, release = asyncio.Event(), asyncio.Event()

    @activity
    async def slow() -> int:
        running.set()
        await release.wait()
        return 1

    workflow = await bed.dispatch([ActivitySpec("slow")])
    worker = bed.worker(slow)
    async with worker:
        await running.wait()
        worker.stop()
        await until(lambda: "to finish" in caplog.text)
        late = await bed.dispatch([ActivitySpec("slow")])
        release.set()
    assert (await bed.outcome(workflow)).status == "completed"
    assert (await bed.transport.queues("slow"))["slow"].ready == 1, f"{late} is for the next worker"


async def test_what_does_not_finish_is_given_back_unharmed(bed: Bed) -> None:
    running: list[int] = []

    @activity
    async def slow(ctx: ActivityContext) -> int:
        running.append(ctx.attempt)
        if len(running) < 9:
            await asyncio.Event().wait()
        return ctx.attempt

    workflow = await bed.dispatch([ActivitySpec("slow")])
    for turn in range(1, 9):  # more often than crashes would be tolerated
        async with bed.worker(slow, grace=0.0):
            await until(lambda turn=turn: len(running) == turn)  # type: ignore[misc]
    async with bed.worker(slow):
        outcome = await bed.outcome(workflow)
    assert outcome.results["slow"] == 1, "a stop costs no attempt"
    assert running == [1] * 9
    assert await bed.all_dead() == []


def hanging_once(monkeypatch: pytest.MonkeyPatch, target: type, name: str, when: str) -> asyncio.Event:
    """The first call of a method hangs, ``before`` or ``after`` it has taken effect; the event tells of it."""
    call, hangs = getattr(target, name), asyncio.Event()

    async def hang() -> None:
        hangs.set()
        await asyncio.Event().wait()

    async def method(*args: Any, **options: Any) -> Any:
        if when == "before" and not hangs.is_set():
            await hang()
        result = await call(*args, **options)
        if not hangs.is_set():
            await hang()
        return result

    monkeypatch.setattr(target, name, method)
    return hangs


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["put", "settle"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stop_between_claim_and_start_gives_the_hop_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, name: str, when: str
) -> None:
    async with Bed(kind, "separate", tmp_path) as bed:
        target = type(bed.state) if name == "put" else type(await _delivery_type(bed))
        workflow = await bed.dispatch(SLIP)
        hangs = hanging_once(monkeypatch, target, name, when)
        async with bed.worker(fine, grace=0.0):
            await hangs.wait()
        cursor = await bed.state.get(BranchKeys.of(workflow).cursor)
        assert cursor is not None
        assert Cursor.decode(cursor.value).state is State.READY
        async with bed.worker(fine):
            assert (await bed.outcome(workflow)).status == "completed"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stop_between_commit_and_sending_leaves_no_message_unsent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, when: str
) -> None:
    sending: list[asyncio.Event] = []

    @activity
    async def first() -> None:
        sending.append(hanging_once(monkeypatch, type(bed.transport), "publish", when))

    async with Bed(kind, "separate", tmp_path) as bed:
        workflow = await bed.dispatch([first.spec(), *SLIP])
        async with bed.worker(first, grace=0.0):
            await until(lambda: len(sending) == 1 and sending[0].is_set())
        assert (await bed.transport.queues("fine"))["fine"].ready >= 1
        async with bed.worker(first, fine):
            assert (await bed.outcome(workflow)).status == "completed"
    assert len(sending) == 1


async def test_a_second_stop_does_not_wait_for_the_grace_period(bed: Bed) -> None:
    running = asyncio.Event()

    slow = _endless(running)

    await bed.dispatch([ActivitySpec("slow")])
    worker = bed.worker(slow, grace=3600.0)
    task = asyncio.create_task(worker.run())
    await running.wait()
    worker.stop()
    await asyncio.sleep(0)
    worker.stop()
    async with asyncio.timeout(10):
        await task
    assert (await bed.transport.queues("slow"))["slow"].ready == 1


async def test_a_second_stop_within_the_grace_period_warns_of_nothing(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.Event()

    slow = _endless(running)

    caplog.set_level("INFO", logger="paigeant.worker")
    await bed.dispatch([ActivitySpec("slow")])
    worker = bed.worker(slow, grace=3600.0)
    task = asyncio.create_task(worker.run())
    await running.wait()
    worker.stop()
    await until(lambda: "have 3600 s to finish" in caplog.text)
    worker.stop()
    await task
    assert [record.message for record in caplog.records if "given back" in record.message] == []
    async with asyncio.timeout(30), bed.transport.consume(["slow"], lease=30.0) as consumer:
        (delivery,) = await consumer.receive(1)
        assert delivery.deliveries == 1, "given back by the hop, which counts as no crash"


async def test_a_second_stop_does_not_wait_for_an_activity_that_will_not_stop(bed: Bed) -> None:
    running, release = asyncio.Event(), asyncio.Event()

    @activity
    async def stubborn() -> None:
        running.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    await bed.dispatch([ActivitySpec("stubborn")])
    worker = bed.worker(stubborn, grace=3600.0)
    task = asyncio.create_task(worker.run())
    try:
        await running.wait()
        worker.stop()
        await asyncio.sleep(0)
        worker.stop()
        async with asyncio.timeout(10):
            await asyncio.wait([task])
        assert task.done()
    finally:
        release.set()


async def test_a_third_stop_does_not_interrupt_the_giving_back(stored: Bed) -> None:
    slow = Lingering()
    await stored.dispatch([ActivitySpec("slow")])
    worker = stored.worker(slow.activity, grace=3600.0)
    task = asyncio.create_task(worker.run())
    await slow.running.wait()
    worker.stop()
    worker.stop()
    await slow.interrupted.wait()
    worker.stop()
    slow.release.set()
    async with asyncio.timeout(PATIENCE):
        await task
    assert (await stored.transport.queues("slow"))["slow"].ready == 1


async def test_a_worker_may_run_again_after_it_stopped(bed: Bed) -> None:
    worker = bed.worker(fine)
    for _ in range(3):
        async with worker:
            assert (await bed.outcome(await bed.dispatch(SLIP))).status == "completed"


async def test_a_stop_before_the_first_step_of_a_run_holds(memory: Bed) -> None:
    worker = memory.worker(fine)
    running = asyncio.create_task(worker.run())
    worker.stop()
    async with asyncio.timeout(PATIENCE):
        await running
    worker.stop()  # it does not run: that means nothing for its next run
    async with worker:
        assert (await memory.outcome(await memory.dispatch(SLIP))).status == "completed"


async def test_cancelling_the_worker_gives_its_work_back(bed: Bed) -> None:
    running: list[int] = []

    @activity
    async def slow() -> None:
        running.append(1)
        if len(running) == 1:
            await asyncio.Event().wait()

    workflow = await bed.dispatch([ActivitySpec("slow")])
    task = asyncio.create_task(bed.worker(slow, grace=0.0).run())
    await until(lambda: bool(running))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with bed.worker(slow):
        assert (await bed.outcome(workflow)).status == "completed"


async def test_stopping_while_the_backend_is_down_does_not_hang(
    stored: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.Event()

    slow = _endless(running)

    async def down(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("gone")

    await stored.dispatch([ActivitySpec("slow")])
    worker = stored.worker(slow, grace=0.0)
    task = asyncio.create_task(worker.run())
    await running.wait()
    deliveries = type(await _delivery_type(stored))
    monkeypatch.setattr(deliveries, "settle", down)
    monkeypatch.setattr(type(stored.state), "put", down)
    worker.stop()
    async with asyncio.timeout(14):
        await task
    assert "could not be given back" in caplog.text


async def _delivery_type(bed: Bed) -> Any:
    from paigeant.model.message import Message, Publication

    await bed.transport.publish(Publication("sample", Message("1", b"")))
    async with bed.transport.consume(["sample"], lease=30.0) as consumer:
        (delivery,) = await consumer.receive(1)
        await delivery.settle()
        return delivery
