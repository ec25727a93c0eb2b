"""What observers are told, and observers that end in ways of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from paigeant import ActivitySpec, DeadLetters, RetryAfter, RetryPolicy, WorkflowError, activity
from paigeant.abc.clock import SystemClock
from paigeant.model.events import ActivityRetrying, ActivityStarted, WorkflowEnded, WorkflowEvent
from paigeant.runtime.notifier import Notifier

from ..support import Bed, Recorder, until


class Cancelled:
    """Awaits a task of its own that was cancelled."""

    async def on_event(self, event: WorkflowEvent) -> None:
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        await task


class CancelsItself:
    async def on_event(self, event: WorkflowEvent) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


class Endless:
    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def on_event(self, event: WorkflowEvent) -> None:
        self.begun.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("observer", [Cancelled, CancelsItself])
async def test_a_cancelled_observer_does_not_give_the_hop_back(
    memory: Bed, observer: type[Cancelled], caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []
    recorder = Recorder()

    @activity
    async def fine() -> int:
        runs.append(1)
        return 1

    outcome = await memory.run([ActivitySpec("fine")], fine, worker={"observers": [observer(), recorder]})
    assert outcome.status == "completed"
    assert runs == [1]
    assert recorder.of(WorkflowEnded)
    assert f"observer {observer.__name__} failed on ActivityStarted" in caplog.text


async def test_whoever_tells_can_be_cancelled_meanwhile() -> None:
    observer = Endless()
    telling = asyncio.create_task(Notifier([observer], SystemClock()).tell(WorkflowEnded("1", "w", 0.0, "completed")))
    await observer.begun.wait()
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling
    assert telling.cancelled()


async def test_a_slow_observer_is_named(caplog: pytest.LogCaptureFixture) -> None:
    await Notifier([Endless()], SystemClock()).tell(WorkflowEnded("1", "w", 0.0, "completed"))
    assert "observer Endless failed on WorkflowEnded: TimeoutError" in caplog.text


class AtTheEnd:
    """Notes what was logged when it was told of the end, which is before the commit."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog, self.logged = caplog, list[str]()

    async def on_event(self, event: WorkflowEvent) -> None:
        if isinstance(event, WorkflowEnded):
            self.logged.append(self._caplog.text)


async def test_the_log_says_that_a_workflow_has_ended_once_that_is_committed(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "paigeant")
    observer = AtTheEnd(caplog)

    @activity
    async def fine() -> int:
        return 1

    outcome = await bed.run([ActivitySpec("fine")], fine, worker={"observers": [observer]})
    said = f"workflow {outcome.correlation_id} is completed"
    assert len(observer.logged) == 1
    assert said not in observer.logged[0]
    assert caplog.text.count(said) == 1


async def test_different_facts_have_different_ids(bed: Bed) -> None:
    """Attempts cannot tell them apart: not all are counted, and they start anew when a workflow is put back to work."""
    recorder = Recorder()
    ends = iter([RetryAfter(0.01), ValueError("no"), ValueError("no"), ValueError("no"), None])

    @activity(retry=RetryPolicy(attempts=2, first_delay=0.01))
    async def call() -> None:
        if (end := next(ends)) is not None:
            raise end

    async with bed.worker(call, observers=[recorder]), bed.client() as client:
        workflow = await bed.dispatch([ActivitySpec("call", exhausted="park")])

        async def put_back() -> bool:
            if bed.mode == "none":
                async with DeadLetters(bed.transport) as letters:
                    return bool(await letters.replay("call"))
            with contextlib.suppress(WorkflowError):
                await client.resume(workflow)
                return True
            return False

        await until(put_back)
        await until(lambda: bool(recorder.of(WorkflowEnded)))
    assert [event.attempt for event in recorder.of(ActivityStarted)] == [1, 1, 2, 1, 2]
    assert [event.attempt for event in recorder.of(ActivityRetrying)] == [1, 1, 1]
    assert len({event.id for event in recorder.events}) == len(recorder.events)
