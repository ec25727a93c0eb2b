"""A value taken out of a message on its way: it is refused like any altered one, and decides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivityContext, ActivitySpec, DeadLetters, ResultOf, RevisionPolicy, activity
from paigeant.model.message import Message, Publication
from paigeant.testing import VirtualClock

from ..support import NO_RETRY, Bed, until


@activity("add", queue="first")
async def add(number: int, limit: int) -> int:
    return number + limit


@activity("double", queue="second")
async def double(number: int, factor: int) -> int:
    return number * factor


SLIP = [ActivitySpec("add", {"number": 1}, queue="first"), double.spec(number=ResultOf("add"), factor=20)]


def robbed(message: Message, *values: bytes) -> Message:
    """The message without these values, or without all."""
    members = json.loads(message.body)
    texts = [value.decode() for value in values]
    members["blobs"] = {name: text for name, text in members["blobs"].items() if texts and text not in texts}
    if not members["blobs"]:
        del members["blobs"]
    return Message(f"{message.id}-robbed", json.dumps(members, separators=(",", ":")).encode(), message.headers)


async def swapped(bed: Bed, queue: str, *values: bytes) -> Message:
    """Puts a robbed message in the place of the one in ``queue``, which is returned."""
    (message,) = await bed.transport.peek(queue)
    await bed.transport.purge(queue)
    bad = robbed(message, *values)
    assert len(bad.body) < len(message.body)
    await bed.transport.publish(Publication(queue, bad))
    return message


def refused(bed: Bed, queue: str) -> Callable[[], Any]:
    async def there() -> bool:
        return bool(await bed.dead(queue))

    return there


def arrived(bed: Bed, queue: str) -> Callable[[], Any]:
    async def there() -> bool:
        return (await bed.transport.queues(queue))[queue].ready == 1

    return there


async def replayed(bed: Bed, queue: str, message: Message) -> None:
    """Refused once as well, untouched, and sent again by hand."""
    await bed.transport.publish(Publication(f"{queue}.dead", message))
    async with DeadLetters(bed.transport) as dead:
        assert await dead.replay(queue, [message.id]) == 1


TAKEN = {
    "the argument": [b'{"number":1}'],
    "the variable": [b"1"],
    "one of a later step": [b'{"factor":20}'],
    "all": [],
}


@pytest.mark.parametrize("taken", TAKEN)
async def test_it_is_refused_and_the_untouched_one_goes_on(bed: Bed, taken: str) -> None:
    async with bed.dispatcher() as dispatcher, bed.client() as client:
        workflow = await dispatcher.dispatch_workflow(SLIP, variables={"limit": 1})
        message = await swapped(bed, "first", *TAKEN[taken])
        async with bed.worker(add, double):
            await until(refused(bed, "first"))
            if bed.mode != "none":
                assert (await client.status(workflow)).state == "ready"
                assert await client.history(workflow) == []
            await replayed(bed, "first", message)
            outcome = await client.outcome(workflow, timeout=10)
    assert (outcome.status, outcome.results["double"]) == ("completed", 40)
    assert await bed.all_dead() == ["first: PayloadMissing"]


async def test_in_separate_mode_the_whole_message_is_sent_again(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with Bed("inmemory", "separate", tmp_path, clock=clock) as bed, bed.client(clock=clock) as client:
        async with bed.dispatcher(clock=clock) as dispatcher:
            workflow = await dispatcher.dispatch_workflow(SLIP, variables={"limit": 1})
        await swapped(bed, "first")
        async with bed.worker(add, double, clock=clock):
            await until(refused(bed, "first"))
            await clock.advance(120)
            assert (await client.outcome(workflow)).status == "completed"
        assert await bed.all_dead() == ["first: PayloadMissing"]


async def test_a_result_that_the_history_holds_cannot_be_taken(stored: Bed) -> None:
    workflow = await stored.dispatch(SLIP, variables={"limit": 1})
    async with stored.worker(add):
        await until(arrived(stored, "second"))
    await swapped(stored, "second", b"2")
    async with stored.worker(double):
        assert (await stored.outcome(workflow)).results["double"] == 40
    assert await stored.all_dead() == []


@pytest.mark.parametrize("taken", [[b'[{"seat":4}]'], [b"1"], []], ids=["the data", "the variable", "all"])
async def test_of_an_undo_as_well(stored: Bed, taken: list[bytes]) -> None:
    undone: list[int] = []

    @activity("book", queue="first", retry=NO_RETRY)
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(seat=4)

    @book.compensate
    async def unbook(seat: int) -> None:
        undone.append(seat)

    @activity("fail", queue="second", retry=NO_RETRY)
    async def fail() -> None:
        raise ValueError("no")

    slip = [ActivitySpec("book", queue="first"), ActivitySpec("fail", queue="second")]
    workflow = await stored.dispatch(slip, variables={"limit": 1})
    async with stored.worker(book):
        await until(arrived(stored, "second"))
    async with stored.worker(fail):
        await until(arrived(stored, "first"))
    message = await swapped(stored, "first", *taken)
    async with stored.worker(book, fail):
        await until(refused(stored, "first"))
        assert undone == []
        await replayed(stored, "first", message)
        assert (await stored.outcome(workflow)).status == "compensated"
    assert undone == [4]
    assert await stored.all_dead() == ["first: PayloadMissing"]


async def test_what_nobody_here_serves_is_put_back_as_it_is(memory: Bed) -> None:
    await memory.dispatch([ActivitySpec("absent", {"number": 1}, queue="second")])
    await swapped(memory, "second")
    async with memory.worker(double):

        async def delayed() -> bool:
            return bool((await memory.transport.queues("second"))["second"].delayed)

        await until(delayed)
    assert await memory.all_dead() == []


async def test_a_revision_that_wants_what_left_the_message(bed: Bed) -> None:
    """Without a store it is nowhere: who asks for it is told, for the step itself could not tell it from a theft."""

    @activity("plan", queue="first", retry=NO_RETRY)
    async def plan(ctx: ActivityContext) -> None:
        ctx.insert(double.spec(number=ResultOf("add"), factor=20))

    slip = [SLIP[0], ActivitySpec("between", queue="second"), ActivitySpec("plan", queue="first")]

    @activity("between", queue="second")
    async def between() -> None: ...

    grant = RevisionPolicy(activities=["double"], max_steps=4)
    outcome = await bed.run(slip, add, between, plan, double, variables={"limit": 1}, revisions=grant)
    if bed.mode != "none":
        assert outcome.results["double"] == 40
    else:
        assert outcome.fault is not None
        assert (outcome.fault.activity, outcome.fault.error) == ("plan", "StoreRequired")
    assert await bed.all_dead() == []
