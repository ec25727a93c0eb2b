"""Large values, full messages: what does not fit is refused by name, and faults always fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from paigeant import ActivityContext, ActivitySpec, PermanentFault, ResultOf, WorkflowDispatcher, activity
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import MessageTooLarge
from paigeant.model.capabilities import Capabilities
from paigeant.state.ids import BranchKeys

from ..support import NO_RETRY, Bed, until


@activity
async def echo(value: Any = None) -> Any:
    return value


SLIP = [ActivitySpec("echo", {"value": 1})]


class Narrow(InMemoryTransport):
    """A broker that takes less than is configured."""

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, max_message=2_000)


async def test_the_limit_that_is_named_is_the_one_that_was_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with WorkflowDispatcher(Narrow()) as dispatcher:
        with pytest.raises(MessageTooLarge, match="raise the limit of Narrow, which is lower"):
            await dispatcher.dispatch_workflow(SLIP, variables={"name": "x" * 1_500})
    async with WorkflowDispatcher(InMemoryTransport()) as dispatcher:
        with pytest.raises(MessageTooLarge, match=r"or raise PAIGEANT_MAX_MESSAGE_BYTES$"):
            await dispatcher.dispatch_workflow(SLIP, variables={"name": "x" * 300_000})


async def test_large_values_travel_aside_where_there_is_a_store(stored: Bed) -> None:
    big = "x" * 300_000

    @activity
    async def double(ctx: ActivityContext, value: str, carried: str) -> str:
        ctx.variables["carried"] = carried + "!"
        return value * 2

    @activity
    async def size(value: str, carried: str) -> list[int]:
        return [len(value), len(carried)]

    slip = [ActivitySpec("double", {"value": big}), ActivitySpec("size", {"value": ResultOf("double")})]
    async with stored.worker(double, size):
        workflow = await stored.dispatch(slip, variables={"carried": big})
        outcome = await stored.outcome(workflow)
    assert outcome.results["size"] == [600_000, 300_001]
    assert outcome.results["double"] == big * 2
    assert len(outcome.variables["carried"]) == 300_001


async def test_without_a_store_a_large_argument_is_refused_at_the_producer(storeless: Bed) -> None:
    with pytest.raises(MessageTooLarge, match=r"'value' of activity 'echo'"):
        await storeless.dispatch([ActivitySpec("echo", {"value": "x" * 300_000})])
    assert (await storeless.transport.queues("echo"))["echo"].ready == 0


async def test_without_a_store_a_large_variable_is_refused_at_the_producer(storeless: Bed) -> None:
    with pytest.raises(MessageTooLarge, match=r"largest value is variable 'big'"):
        await storeless.dispatch(SLIP, variables={"small": 1, "big": "x" * 300_000})
    assert (await storeless.transport.queues("echo"))["echo"].ready == 0


async def test_without_a_store_a_large_result_is_a_permanent_fault(storeless: Bed) -> None:
    ran: list[int] = []

    @activity
    async def large() -> str:
        ran.append(1)
        return "x" * 300_000

    outcome = await storeless.run([ActivitySpec("large"), ActivitySpec("echo")], large, echo)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert (outcome.fault.error, ran) == ("MessageTooLarge", [1])
    assert "'large'" in outcome.fault.message


async def test_variables_that_do_not_fit_are_a_permanent_fault(bed: Bed) -> None:
    @activity
    async def fill(ctx: ActivityContext) -> None:
        for number in range(6):
            ctx.variables[f"v{number}"] = str(number) * 60_000

    outcome = await bed.run([ActivitySpec("fill")], fill)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert outcome.fault.error == "MessageTooLarge"
    assert "'fill'" in outcome.fault.message


def full(room: int) -> dict[str, str]:
    """Variables that leave so much room in a message, more or less."""
    values = {f"pad{number}": str(number) * 60_000 for number in range(4)}
    return {**values, "pad": "x" * (256 * 1024 - 240_000 - 6_000 - room)}


@pytest.mark.parametrize("room", [0, 2_000])
async def test_a_long_fault_in_a_full_message_still_reaches_its_reader(bed: Bed, room: int) -> None:
    """The record of a fault must fit where nothing else would; its text is cut if need be."""

    @activity(retry=NO_RETRY)
    async def fails() -> None:
        raise PermanentFault("why " * 4000)

    outcome = await bed.run([ActivitySpec("fails")], fails, variables=full(room))
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert outcome.fault.error == "PermanentFault"
    assert outcome.fault.message.startswith("PermanentFault: why")


@pytest.mark.parametrize("size", range(2_000, 8_000, 500))
async def test_a_result_must_leave_room_for_what_follows(stored: Bed, size: int) -> None:
    """Whatever the size of the first result: the fault and the undo after it find their place."""
    undone: list[int] = []

    @activity(retry=NO_RETRY)
    async def fill(ctx: ActivityContext) -> str:
        await ctx.register_compensation(data="d" * 2_000)
        return "r" * size

    @fill.compensate
    async def unfill(data: str) -> None:
        undone.append(len(data))

    @activity(retry=NO_RETRY)
    async def fails() -> None:
        raise PermanentFault("why " * 4000)

    slip = [ActivitySpec("fill"), ActivitySpec("fails")]
    outcome = await stored.run(slip, fill, fails, variables=full(1_000))
    assert outcome.status == "compensated"
    assert outcome.fault is not None
    assert (outcome.fault.activity, outcome.fault.error) in {("fill", "MessageTooLarge"), ("fails", "PermanentFault")}
    assert undone == [2_000]


SMALL = 16_384


@pytest.mark.parametrize("words", [100, 700, 900])
async def test_a_long_error_text_takes_no_room_from_what_must_be_undone(
    stored: Bed, words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_MAX_MESSAGE_BYTES", str(SMALL))

    @activity
    async def first(ctx: ActivityContext) -> None:
        await ctx.register_compensation()

    @first.compensate
    async def undo_first() -> None: ...

    @activity
    async def second(ctx: ActivityContext) -> None:
        await ctx.register_compensation()
        ctx.variables["pad"] = "x" * 9_200  # nearly all that may be taken

    @second.compensate
    async def undo_second() -> None: ...

    @activity(retry=NO_RETRY)
    async def fails() -> None:
        raise PermanentFault("why? " * words)

    outcome = await stored.run([first.spec(), second.spec(), fails.spec()], first, second, fails)
    assert (outcome.status, outcome.undone) == ("compensated", ("second", "first"))
    assert outcome.fault is not None
    assert (outcome.fault.activity, outcome.fault.error) == ("fails", "PermanentFault")
    assert outcome.fault.message.startswith("PermanentFault: why? why?")


async def test_what_is_undone_and_does_not_fit_waits_for_a_person(stored: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It did not fail: nobody may be told that it did."""
    monkeypatch.setenv("PAIGEANT_MAX_MESSAGE_BYTES", str(SMALL))

    @activity(retry=NO_RETRY)
    async def fails(ctx: ActivityContext) -> None:
        await ctx.register_compensation()
        raise PermanentFault("why")

    @fails.compensate
    async def undo(ctx: ActivityContext) -> None:
        ctx.variables["much"] = "x" * SMALL

    async with stored.worker(fails), stored.client() as client:
        workflow = await stored.dispatch([fails.spec()])

        async def stands() -> bool:
            status = await client.status(workflow)
            assert status.state != "ended"
            return status.parked.startswith("MessageTooLarge: activity 'fails'")

        await until(stands)


async def test_a_value_changed_in_the_store_is_refused(stored: Bed) -> None:
    workflow = await stored.dispatch([ActivitySpec("echo", {"value": "x" * 100_000})])
    (entry,) = await stored.state.scan(f"blob/{BranchKeys.of(workflow).workflow}/")
    await stored.state.put(entry.key, b'{"value":"' + b"y" * 100_000 + b'"}')
    async with stored.worker(echo):
        outcome = await stored.outcome(workflow)
    assert outcome.fault is not None
    assert outcome.fault.error == "PayloadMismatch"


async def test_a_value_lost_from_the_store_is_a_permanent_fault(stored: Bed) -> None:
    workflow = await stored.dispatch([ActivitySpec("echo", {"value": "x" * 100_000})])
    (entry,) = await stored.state.scan(f"blob/{BranchKeys.of(workflow).workflow}/")
    await stored.state.delete(entry.key)
    async with stored.worker(echo):
        outcome = await stored.outcome(workflow)
    assert outcome.fault is not None
    assert outcome.fault.error == "PayloadMissing"
