"""A worker beside an ``async with`` block: how it starts, fails and is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from paigeant import ActivitySpec, ConfigurationError, Worker, activity
from paigeant.errors import BackendClosed

from ..support import PATIENCE, Bed, Lingering, until


@activity
async def fine() -> int:
    return 1


async def test_cancelled_while_it_starts_it_leaves_nothing_behind(memory: Bed) -> None:
    log: list[str] = []
    opening = asyncio.Event()

    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncGenerator[None]:
        opening.set()
        try:
            await asyncio.Event().wait()
            yield
        finally:
            log.append("closed")

    async def enter() -> None:
        async with memory.worker(fine, lifespan=lifespan):
            log.append("entered")

    entering = asyncio.create_task(enter())
    await opening.wait()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert log == ["closed"]


async def test_one_that_fails_ends_its_block_with_the_error(memory: Bed) -> None:
    limit = asyncio.timeout(30)
    with pytest.raises(BackendClosed):
        async with limit, memory.worker(fine):
            await memory.transport.disconnect()
            await asyncio.Event().wait()
    assert not limit.expired()
    await memory.transport.connect()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_is_cancelled_as_well_stays_cancelled(memory: Bed) -> None:
    failed = asyncio.Event()

    async def block() -> None:
        async with memory.worker(fine):
            await memory.transport.disconnect()
            try:
                await asyncio.Event().wait()
            finally:
                failed.set()
                await asyncio.shield(asyncio.sleep(0))

    task = asyncio.create_task(block())
    await failed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await memory.transport.connect()


async def test_cancelled_it_stops_at_once_and_gives_back_what_it_runs(bed: Bed) -> None:
    running, ended = asyncio.Event(), asyncio.Event()

    @activity
    async def slow() -> int:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 1

    await bed.dispatch([ActivitySpec("slow")])
    serving = asyncio.create_task(bed.worker(slow, grace=600).run())
    await running.wait()
    serving.cancel()
    await asyncio.wait([serving], timeout=30)
    assert serving.cancelled()
    assert ended.is_set()

    async def ready() -> bool:
        return (await bed.transport.queues("slow"))["slow"].ready == 1

    await until(ready)


async def test_it_runs_once_at_a_time(memory: Bed) -> None:
    worker = memory.worker(fine)
    async with worker:
        with pytest.raises(ConfigurationError, match="runs already"):
            await worker.run()
    async with worker:
        assert (await memory.outcome(await memory.dispatch([ActivitySpec("fine")]))).results == {"fine": 1}


@pytest.mark.parametrize("run", [lambda worker: asyncio.run(worker.run(signals=True)), Worker.run_sync])
async def test_signals_are_for_the_main_thread(memory: Bed, run: Callable[[Worker], None]) -> None:
    worker = memory.worker(fine)
    with pytest.raises(ConfigurationError, match=r"main thread only.*call_soon_threadsafe"):
        await asyncio.to_thread(run, worker)
    async with worker:
        assert (await memory.outcome(await memory.dispatch([ActivitySpec("fine")]))).results == {"fine": 1}


async def test_however_often_it_is_cancelled_it_ends_before_it_returns(memory: Bed) -> None:
    slow = Lingering()
    await memory.dispatch([ActivitySpec("slow")])
    worker = memory.worker(slow.activity)
    serving = asyncio.create_task(worker.run())
    await slow.running.wait()
    serving.cancel()
    await slow.interrupted.wait()
    serving.cancel()
    with pytest.raises(ConfigurationError, match="runs already"):
        await worker.run()
    slow.release.set()
    await asyncio.wait([serving], timeout=PATIENCE)
    assert serving.cancelled()
    stats = (await memory.transport.queues("slow"))["slow"]
    assert (stats.ready, stats.consumers) == (1, 0)


async def test_it_is_entered_once_at_a_time(memory: Bed) -> None:
    worker = memory.worker(fine)
    async with worker:
        with pytest.raises(ConfigurationError, match="runs already"):
            await worker.__aenter__()
        assert (await memory.outcome(await memory.dispatch([ActivitySpec("fine")]))).results == {"fine": 1}
    assert (await memory.transport.queues("fine"))["fine"].consumers == 0
    async with worker:
        assert (await memory.outcome(await memory.dispatch([ActivitySpec("fine")]))).results == {"fine": 1}
