"""Work that is seen through although somebody cancels."""

from __future__ import annotations

import asyncio

import pytest

from paigeant.abc import see_through


async def test_it_ends_first_and_the_cancellation_comes_through_then() -> None:
    go_on, done = asyncio.Event(), list[str]()

    async def work() -> None:
        await go_on.wait()
        done.append("work")

    seeing = asyncio.create_task(see_through(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        seeing.cancel()
    await asyncio.sleep(0)
    assert not seeing.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await seeing
    assert done == ["work"]


async def test_a_failure_is_returned_so_that_it_hides_nothing() -> None:
    error = OSError("no")

    async def fails() -> None:
        raise error

    async def ends() -> int:
        return 1

    assert await see_through(fails()) is error
    assert await see_through(ends()) is None


async def test_work_that_somebody_else_cancels_is_over() -> None:
    work = asyncio.create_task(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(work.cancel)
    assert await see_through(work) is None
