"""A time limit that is armed only for work that has to wait."""

from __future__ import annotations

import asyncio

import pytest

from paigeant.envelope.eager import within


async def test_an_answer_at_once_arms_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once() -> int:
        return 1

    monkeypatch.setattr(asyncio, "timeout", None)
    assert await within(0.0, at_once()) == 1


async def test_errors_pass_before_and_after_waiting() -> None:
    async def fails(waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyError("x")

    for waits in (False, True):
        with pytest.raises(KeyError):
            await within(5.0, fails(waits))


async def test_work_may_wait_often_and_for_anything() -> None:
    async def busy() -> list[int]:
        async with asyncio.timeout(5.0):
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_soon(future.set_result, 1)
            first = await future
            second = await asyncio.create_task(asyncio.sleep(0, 2))
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 0.001)
            except TimeoutError:
                return [first, second, 3]
        return []

    assert await within(5.0, busy()) == [1, 2, 3]


async def test_too_late_is_cancelled_and_cleans_up() -> None:
    cleaned: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # a clean-up may wait, too
            cleaned.append("up")
            raise

    with pytest.raises(TimeoutError):
        await within(0.01, hangs())
    assert cleaned == ["up"]


async def test_cancelling_the_waiter_cancels_the_work() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(within(30.0, hangs()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


def test_closing_the_waiter_closes_the_work() -> None:
    closed: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            closed.append("yes")

    async def main() -> None:
        waiter = within(30.0, hangs())
        waiter.send(None)
        waiter.close()

    asyncio.run(main())
    assert closed == ["yes"]
