"""A backend that is closed or not ours any more: whoever asks is told, and does not wait for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from paigeant import ActivitySpec, WorkflowClient, activity
from paigeant.abc.clock import SystemClock
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import BackendClosed, BackendCorrupt, BackendUnavailable
from paigeant.model.store import Entry
from paigeant.runtime.patience import patiently

from ..support import PATIENCE, Bed

SLIP = [ActivitySpec("fine")]


@activity
async def fine() -> int:
    return 1


async def test_patience_ends_with_a_closed_backend() -> None:
    errors = [BackendClosed("closed"), BackendUnavailable("not yet")]

    async def call() -> None:
        raise errors.pop()

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BackendClosed):
            await patiently(call, SystemClock(), "trying")
    assert errors == []


async def test_dispatch_after_disconnect_says_so(stored: Bed) -> None:
    async with stored.dispatcher() as dispatcher:
        await dispatcher.dispatch_workflow(SLIP)
        await stored.transport.disconnect()
        if stored.store is not None:
            await stored.store.disconnect()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(BackendClosed):
                await dispatcher.dispatch_workflow(SLIP)


async def test_who_closes_while_it_opens_closes_what_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, proceed, connect = asyncio.Event(), asyncio.Event(), SqliteTransport.connect

    async def slowly(transport: SqliteTransport) -> None:
        connecting.set()
        await proceed.wait()
        await connect(transport)

    monkeypatch.setattr(SqliteTransport, "connect", slowly)
    transport = SqliteTransport(tmp_path / "queues.db")
    client = WorkflowClient(transport)
    entering = asyncio.create_task(client.__aenter__())
    await connecting.wait()
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    proceed.set()
    await asyncio.gather(entering, closing)
    with pytest.raises(BackendClosed):
        await transport.queues()


async def test_a_worker_whose_transport_was_closed_ends_with_that(stored: Bed) -> None:
    serving = asyncio.create_task(stored.worker(fine).run())
    assert (await stored.outcome(await stored.dispatch(SLIP))).status == "completed"
    await stored.transport.disconnect()
    with pytest.raises(BackendClosed):
        async with asyncio.timeout(PATIENCE):
            await serving


async def test_a_worker_whose_file_was_replaced_ends_with_that(tmp_path: Path) -> None:
    async with Bed("sqlite", "shared", tmp_path) as bed:
        serving = asyncio.create_task(bed.worker(fine).run())
        assert (await bed.outcome(await bed.dispatch(SLIP))).status == "completed"
        for file in tmp_path.glob("queues.db*"):
            if file.is_file():
                file.unlink()
        with pytest.raises(BackendCorrupt, match="deleted or replaced"):
            async with asyncio.timeout(PATIENCE):
                await serving


@pytest.mark.parametrize("running", [False, True], ids=["idle", "busy"])
async def test_closing_the_transport_after_stopping_is_quiet(
    stored: Bed, running: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "paigeant.worker")
    begun, release = asyncio.Event(), asyncio.Event()

    @activity
    async def slow() -> None:
        begun.set()
        await release.wait()

    worker = stored.worker(slow)
    async with asyncio.timeout(PATIENCE), worker:
        if running:
            await stored.dispatch([ActivitySpec("slow")])
            await begun.wait()
        worker.stop()
        await stored.transport.disconnect()
        release.set()
    assert [record.getMessage() for record in caplog.records if record.name == "paigeant.worker"] == []


async def test_a_backend_that_is_only_down_is_waited_for(memory: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    from paigeant.builtin.inmemory.transport import InMemoryConsumer

    receive, errors = InMemoryConsumer.receive, [BackendUnavailable("gone")]

    async def failing(self: InMemoryConsumer, limit: int) -> object:
        if errors:
            raise errors.pop()
        return await receive(self, limit)

    monkeypatch.setattr(InMemoryConsumer, "receive", failing)
    assert (await memory.run(SLIP, fine)).status == "completed"
    assert errors == []


async def test_who_waits_for_a_workflow_waits_through_outages_of_the_store(
    memory: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, outages, release = InMemoryStore.watch, 0, asyncio.Event()

    async def interrupted(self: InMemoryStore, key: str) -> AsyncGenerator[Entry | None, None]:
        nonlocal outages
        async with aclosing(watch(self, key)) as changes:
            yield await anext(changes)
        outages += 1
        if outages == 6:
            release.set()
        raise BackendUnavailable("restarting")

    @activity
    async def slow() -> int:
        await release.wait()
        return 1

    monkeypatch.setattr(InMemoryStore, "watch", interrupted)
    async with asyncio.timeout(PATIENCE), memory.worker(slow), memory.client() as client:
        workflow = await memory.dispatch([ActivitySpec("slow")])
        waiting = asyncio.ensure_future(client.outcome(workflow))
        states = [status.state async for status in client.watch(workflow)]
        assert (await waiting).results["slow"] == 1
    assert states[-1] == "ended"
    assert len(states) < 6, "what was seen before an outage is not told again"
