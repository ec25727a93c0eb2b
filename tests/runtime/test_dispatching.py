"""Dispatching: what is told of it, and what becomes of an id that is freed meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from paigeant import ActivitySpec, DuplicateWorkflow, activity
from paigeant.model.events import WorkflowDispatched
from paigeant.state.ids import BranchKeys

from ..support import Bed, Recorder


@activity
async def echo(value: int) -> int:
    return value


async def test_a_workflow_is_told_of_once_it_was_accepted(stored: Bed) -> None:
    recorder = Recorder()
    async with stored.dispatcher(observers=[recorder]) as dispatcher:
        await dispatcher.dispatch_workflow([echo.spec(value=1)], correlation_id="one")
        with pytest.raises(DuplicateWorkflow):
            await dispatcher.dispatch_workflow([echo.spec(value=2)], correlation_id="one")
        assert recorder.kinds() == ["WorkflowDispatched"]
        await dispatcher.dispatch_workflow([echo.spec(value=1)], correlation_id="one")
    first, again = recorder.of(WorkflowDispatched)
    assert (first.workflow, first.activities) == ("one", ("echo",))
    assert again.id == first.id, "whoever repeats a dispatch tells again, in case the first telling was lost"


async def test_a_workflow_that_could_not_be_sent_is_not_told_of(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no")

    recorder = Recorder()
    async with bed.dispatcher(observers=[recorder]) as dispatcher:
        monkeypatch.setattr(bed.transport, "publish", fails)
        if bed.store is not None:
            monkeypatch.setattr(bed.store, "put", fails)
        with pytest.raises(RuntimeError):
            await dispatcher.dispatch_workflow([echo.spec(value=1)])
    assert recorder.kinds() == []


async def test_an_id_that_is_freed_meanwhile_is_taken_anew(stored: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last trace of an old workflow expires after it stood in the way, and before it is read."""
    slip = [ActivitySpec("echo", {"value": 1})]
    await stored.dispatch(slip, correlation_id="one")
    await stored.transport.purge("echo")
    cursor = BranchKeys.of("one").cursor
    store = type(stored.state)
    get, expired = store.get, False

    async def expire_and_get(self: Any, key: str) -> Any:
        nonlocal expired
        if key == cursor and not expired:
            expired = True
            await self.delete(key)
        return await get(self, key)

    monkeypatch.setattr(store, "get", expire_and_get)
    assert await stored.dispatch(slip, correlation_id="one") == "one"
    assert expired
    async with stored.worker(echo):
        assert (await stored.outcome("one")).results == {"echo": 1}
