"""Observers that end in ways of their own."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from paigeant import ActivitySpec, activity
from paigeant.abc.clock import SystemClock
from paigeant.model.events import WorkflowEnded, WorkflowEvent
from paigeant.runtime.notifier import Notifier

from ..support import Bed, Recorder


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
