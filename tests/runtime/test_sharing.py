"""One transport, one store, and several who open them: each can use them until it closes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from paigeant import DeadLetters, Worker, WorkflowClient, WorkflowDispatcher, activity
from paigeant.abc import StateStore, Transport
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.builtin.sqlite.store import SqliteStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import BackendClosed

from ..support import Kind


@activity
async def echo() -> str:
    return "x"


Backends = tuple[Transport, StateStore]


@pytest.fixture(params=["inmemory", "sqlite"])
def backends(request: pytest.FixtureRequest, tmp_path: Path) -> Backends:
    """Unconnected. SQLite connects in more than one turn of the loop."""
    kind: Kind = request.param
    if kind == "inmemory":
        return InMemoryTransport(f"inmemory://{tmp_path.name}"), InMemoryStore(f"inmemory://{tmp_path.name}-s")
    return SqliteTransport(tmp_path / "queues.db"), SqliteStore(tmp_path / "state.db")


async def closed(transport: Transport, store: StateStore) -> bool:
    for call in (transport.queues, store.now):
        with pytest.raises(BackendClosed):
            await call()
    return True


@pytest.mark.parametrize("at_once", [True, False])
async def test_whoever_closes_first_leaves_the_others_connected(backends: Backends, at_once: bool) -> None:
    transport, store = backends
    dispatcher = WorkflowDispatcher(transport, state_store=store)
    client = WorkflowClient(transport, state_store=store)
    worker = Worker(transport, [echo], state_store=store)
    opening: list[Any] = [dispatcher.__aenter__(), client.__aenter__(), worker.__aenter__()]
    if at_once:
        await asyncio.gather(*opening)
    else:
        for one in opening:
            await one
    workflow = await dispatcher.dispatch_workflow([echo.spec()])
    await dispatcher.close()
    assert (await client.outcome(workflow, timeout=15)).status == "completed"
    await worker.__aexit__(None, None, None)
    assert (await client.status(workflow)).outcome == "completed"
    async with DeadLetters(transport) as dead:
        await client.close()
        assert await dead.list() == []
    assert await closed(transport, store)


async def test_all_who_close_at_once_close_it_and_it_opens_again(backends: Backends) -> None:
    transport, store = backends
    faces = [WorkflowDispatcher(transport, state_store=store) for _ in range(3)]
    for _ in range(2):
        await asyncio.gather(*(face.__aenter__() for face in faces))
        await asyncio.gather(*(face.close() for face in faces))
        assert await closed(transport, store)


async def test_what_somebody_else_connected_stays_theirs(backends: Backends) -> None:
    transport, store = backends
    async with transport, store:
        async with WorkflowDispatcher(transport, state_store=store), DeadLetters(transport):
            pass
        await transport.queues()
        await store.now()


async def test_opening_that_is_cancelled_holds_nothing(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, store = backends
    entered = asyncio.Event()
    connect = type(transport).connect

    async def slow(self: Any) -> None:
        if not entered.is_set():
            entered.set()
            await asyncio.Event().wait()
        await connect(self)

    monkeypatch.setattr(type(transport), "connect", slow)
    first, second, third = (WorkflowDispatcher(transport, state_store=store) for _ in range(3))
    opening = [asyncio.create_task(face.__aenter__()) for face in (first, second)]
    await entered.wait()
    opening.append(asyncio.create_task(third.__aenter__()))
    await asyncio.sleep(0)
    for task in opening[:2]:
        task.cancel()
    await asyncio.wait(opening)
    await transport.queues()
    await third.close()
    assert await closed(transport, store)
