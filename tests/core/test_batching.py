"""Group commit: who shares a batch, who fails, who is left waiting (nobody)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from paigeant.abc import Batcher
from paigeant.errors import BackendClosed


class Gate:
    """A commit that waits to be opened and notes its batches; numbers double, exceptions are given back."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.error: BaseException | None = None

    async def __call__(self, items: Sequence[object]) -> Sequence[object]:
        self.batches.append(list(items))
        self.entered.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return [item * 2 if isinstance(item, int) else item for item in items]


async def test_what_gathers_during_a_commit_shares_the_next() -> None:
    gate = Gate()
    batcher: Batcher[object, object] = Batcher(gate)
    first = asyncio.create_task(batcher.submit(1))
    await gate.entered.wait()
    rest = [asyncio.create_task(batcher.submit(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert gate.batches == [[1], [2, 3, 4]]


async def test_a_batch_is_no_larger_than_allowed() -> None:
    gate = Gate()
    gate.open.set()
    batcher: Batcher[object, object] = Batcher(gate, max_items=3)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert [len(batch) for batch in gate.batches] == [3, 3, 1]


async def test_an_exception_as_result_fails_its_item_only() -> None:
    gate = Gate()
    gate.open.set()
    batcher: Batcher[object, object] = Batcher(gate)
    error = ValueError("mine")
    results = await asyncio.gather(batcher.submit(1), batcher.submit(error), batcher.submit(2), return_exceptions=True)
    assert results == [2, error, 4]


async def test_an_exception_raised_fails_the_batch_and_not_the_next() -> None:
    gate = Gate()
    gate.open.set()
    gate.error = OSError("all")
    batcher: Batcher[object, object] = Batcher(gate)
    results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
    assert results == [gate.error, gate.error]
    gate.error = None
    assert await batcher.submit(3) == 6


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
async def test_a_commit_that_miscounts_leaves_nobody_waiting(results: list[int]) -> None:
    async def commit(items: Sequence[int]) -> Sequence[int]:
        return results if len(items) > 1 else items

    batcher: Batcher[int, int] = Batcher(commit)
    async with asyncio.timeout(5):
        ends = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
        assert await batcher.submit(3) == 3
    assert [str(end) for end in ends] == [
        f"the commit of 2 items returned {len(results)} results: whose, nobody knows"
    ] * 2


async def test_cancelled_before_its_batch_takes_its_item_back() -> None:
    gate = Gate()
    batcher: Batcher[object, object] = Batcher(gate)
    first = asyncio.create_task(batcher.submit(1))
    await gate.entered.wait()
    second, third = asyncio.create_task(batcher.submit(2)), asyncio.create_task(batcher.submit(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    gate.open.set()
    assert await asyncio.gather(first, third) == [2, 6]
    assert gate.batches == [[1], [3]]


async def test_cancelled_during_its_batch_leaves_the_commit_alone() -> None:
    gate = Gate()
    batcher: Batcher[object, object] = Batcher(gate)
    first, second = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
    await gate.entered.wait()
    first.cancel()
    await asyncio.wait([first])
    gate.open.set()
    assert await second == 4
    assert first.cancelled()
    assert gate.batches == [[1, 2]]


async def test_close_waits_for_what_was_submitted_and_refuses_more() -> None:
    gate = Gate()
    batcher: Batcher[object, object] = Batcher(gate, max_items=1)
    tasks = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await gate.entered.wait()
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    assert not closing.done()
    with pytest.raises(BackendClosed):
        await batcher.submit(3)
    gate.open.set()
    await closing
    assert [task.result() for task in tasks] == [2, 4]
    await batcher.close()


async def test_a_runner_cancelled_at_the_end_of_the_loop_strands_nobody() -> None:
    gate = Gate()
    batcher: Batcher[object, object] = Batcher(gate, max_items=1)
    before = asyncio.all_tasks()
    tasks = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3)]
    await gate.entered.wait()
    (runner,) = asyncio.all_tasks() - before - set(tasks)
    runner.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    await batcher.close()


async def test_a_lone_item_does_not_wait_for_others() -> None:
    gate = Gate()
    gate.open.set()
    batcher: Batcher[object, object] = Batcher(gate)
    async with asyncio.timeout(5):
        for n in range(10):
            assert await batcher.submit(n) == 2 * n
    assert len(gate.batches) == 10
