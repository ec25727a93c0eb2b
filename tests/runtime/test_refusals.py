"""A backend that refuses to store more, as with a full disk: whoever asks is told, and does not wait for it to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paigeant import ActivitySpec, PermanentFault, activity
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendError, BackendUnavailable, OutcomeUnknown, WorkflowNotFound

from ..support import NO_RETRY, Bed, until

SLIP = [ActivitySpec("broken", exhausted="park")]


class Full(BackendUnavailable):
    """So that no other trouble is taken for it."""


@activity(retry=NO_RETRY)
async def broken() -> None:
    raise PermanentFault


@pytest.fixture(params=["shared", "separate"])
async def filled(request: Any, memory: Bed) -> Any:
    """A bed whose broker, or store, can be full."""
    async with Bed("inmemory", request.param, memory.directory) as bed:
        yield bed


def fill(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*args: Any, **options: Any) -> Any:
        raise Full("it is full")

    for kind, name in ((InMemoryTransport, "publish"), (InMemoryStore, "put")):
        monkeypatch.setattr(kind, name, full)


async def test_a_dispatch_is_refused(filled: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fill(filled, patch)
        with pytest.raises(Full):
            await filled.dispatch(SLIP, correlation_id="again")
    with pytest.raises(WorkflowNotFound):
        await filled.outcome("again")
    assert await filled.dispatch(SLIP, correlation_id="again") == "again"


async def test_a_resumption_is_refused(filled: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = await filled.dispatch(SLIP)
    async with filled.client() as client:

        async def parked() -> bool:
            return (await client.status(workflow)).state == "parked"

        async with filled.worker(broken):
            await until(parked)
        with monkeypatch.context() as patch:
            fill(filled, patch)
            with pytest.raises(Full):
                await client.resume(workflow)
        assert await parked()
        await client.resume(workflow)
        assert not await parked()


def failing(call: Callable[..., Any], *errors: BackendError, happens: bool = False) -> Callable[..., Any]:
    """``call``, with these errors for its first answers; whether it ``happens`` all the same."""
    left = list(errors)

    async def act(*args: Any, **options: Any) -> Any:
        if left and not happens:
            raise left.pop(0)
        result = await call(*args, **options)
        if left:
            raise left.pop(0)
        return result

    return act


@pytest.mark.parametrize("happens", [True, False])
async def test_what_may_have_happened_is_settled(
    filled: Bed, monkeypatch: pytest.MonkeyPatch, *, happens: bool
) -> None:
    """Neither a read that fails nor a refusal afterwards says that nothing did."""
    kind, name = (InMemoryTransport, "publish") if filled.mode == "shared" else (InMemoryStore, "put")
    answers = [OutcomeUnknown("no answer"), *([] if happens else [Full("writing")])]
    monkeypatch.setattr(kind, name, failing(getattr(kind, name), *answers, happens=happens))
    monkeypatch.setattr(InMemoryStore, "get", failing(InMemoryStore.get, Full("reading")))
    workflow = await filled.dispatch(SLIP)
    assert (await filled.transport.queues("broken"))["broken"].ready == 1
    async with filled.client() as client:
        assert (await client.status(workflow)).state == "ready"
