"""A backend that is closed under an activity is no fault of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from paigeant import ActivityContext, ActivitySpec, WorkflowClient, activity
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.errors import BackendClosed

from ..support import NO_RETRY, Bed


async def test_a_transport_closed_under_an_activity_costs_no_attempt(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @activity("charge", retry=NO_RETRY)
    async def charge(ctx: ActivityContext) -> str:
        begun.set()
        await go_on.wait()
        await ctx.register_compensation(number=1)
        return "charged"

    @charge.compensate
    def refund(number: int) -> None: ...

    async with Bed("sqlite", "shared", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("charge")])
        transport = bed.make_transport()
        await transport.connect()
        worker = Bed("sqlite", "shared", tmp_path)
        worker.transport = transport
        serving = asyncio.create_task(worker.worker(charge, grace=1.0).run())
        await begun.wait()
        await transport.disconnect()
        go_on.set()
        await asyncio.wait([serving])
        assert serving.exception() is not None
        async with bed.worker(charge):
            assert (await bed.outcome(workflow)).results == {"charge": "charged"}


async def test_a_client_closed_while_a_call_asks_the_store_for_the_time_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on, now = asyncio.Event(), asyncio.Event(), InMemoryStore.now

    async def slowly(store: InMemoryStore) -> float:
        time = await now(store)
        asked.set()
        await go_on.wait()
        return time

    client = WorkflowClient(Bed("inmemory", "shared", tmp_path).make_transport())
    async with client:
        monkeypatch.setattr(InMemoryStore, "now", slowly)
        asking = asyncio.create_task(client.status("w-1"))
        await asked.wait()
    go_on.set()
    with pytest.raises(BackendClosed):
        await asking
