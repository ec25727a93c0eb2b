"""What is not for this worker goes back into its queue, and is not more there however long that goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paigeant import ActivitySpec, activity
from paigeant.envelope.frame import HEADERS
from paigeant.model.message import Message, Publication
from paigeant.testing import VirtualClock

from ..support import STORED, Bed, Mode, until

HOUR, GO_ROUND = 3600.0, 5.0


@activity("left", queue="desk")
async def left() -> None: ...


@activity("right", queue="desk")
async def right() -> None: ...


SLIP = [right.spec(), ActivitySpec("later")]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def separate(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Bed]:
    async with Bed("inmemory", "separate", tmp_path, clock=clock) as bed:
        yield bed


async def dispatch(bed: Bed, clock: VirtualClock) -> str:
    async with bed.dispatcher(clock=clock) as dispatcher:
        return await dispatcher.dispatch_workflow(SLIP)


async def waiting(bed: Bed, queue: str) -> int:
    stats = (await bed.transport.queues(queue))[queue]
    return stats.ready + stats.delayed + stats.in_flight


async def pass_by(clock: VirtualClock, seconds: float) -> None:
    for _ in range(int(seconds / GO_ROUND)):
        await clock.advance(GO_ROUND)


async def copied(bed: Bed, message: Message, count: int) -> None:
    copies = [Publication("desk", Message(f"copy-{number}", message.body, HEADERS)) for number in range(count)]
    await bed.transport.publish(*copies)


async def test_a_message_that_goes_round_is_not_sent_again(separate: Bed, clock: VirtualClock) -> None:
    for _ in range(3):
        await dispatch(separate, clock)
    async with separate.worker(left, clock=clock):
        await pass_by(clock, HOUR / 2)
        assert await waiting(separate, "desk") == 3


async def test_one_that_was_lost_while_it_went_round_is_sent_again(separate: Bed, clock: VirtualClock) -> None:
    await dispatch(separate, clock)
    async with separate.worker(left, clock=clock):
        await pass_by(clock, HOUR / 20)
        await separate.transport.purge("desk")
        await pass_by(clock, 60)
        assert await waiting(separate, "desk") == 1


@pytest.mark.parametrize("mode", STORED)
async def test_a_copy_of_what_is_done_does_not_go_round(mode: Mode, tmp_path: Path, clock: VirtualClock) -> None:
    async with Bed("inmemory", mode, tmp_path, clock=clock) as bed:
        await dispatch(bed, clock)
        (message,) = await bed.transport.peek("desk")
        async with bed.worker(right, clock=clock):
            await until(lambda: _at(bed, "later", 1))
        await copied(bed, message, 3)
        async with bed.worker(left, clock=clock):
            await until(lambda: _at(bed, "desk", 0))


async def test_copies_of_what_is_done_make_its_successor_be_sent_again_once(separate: Bed, clock: VirtualClock) -> None:
    await dispatch(separate, clock)
    (message,) = await separate.transport.peek("desk")
    async with separate.worker(right, clock=clock):
        await until(lambda: _at(separate, "later", 1))
        await copied(separate, message, 10)
        await until(lambda: _at(separate, "desk", 0))
    assert await waiting(separate, "later") == 2


async def _at(bed: Bed, queue: str, count: int) -> bool:
    return await waiting(bed, queue) == count
