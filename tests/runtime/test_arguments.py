"""Where arguments come from, what types they get, and how wrong ones are told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from paigeant import ActivityContext, ActivitySpec, InvalidWorkflow, Outcome, ResultOf, activity
from paigeant.errors import SerializationError
from paigeant.plugins import PluginRegistry

from ..support import Bed


class Address(BaseModel):
    city: str
    lines: list[str] = []


class Account(BaseModel):
    id: UUID
    address: Address
    made: datetime


@dataclass
class Point:
    x: int
    y: int = 0


ACCOUNT = Account(
    id=UUID(int=7),
    address=Address(city="Oslo", lines=["a", "b"]),
    made=datetime(2026, 1, 2, tzinfo=UTC),
)


@activity
async def make_account() -> Account:
    return ACCOUNT


@activity
async def echo(value: Any = "default") -> Any:
    return value


@activity
async def typed(account: Account, point: Point, raw: bytes, when: datetime) -> list[Any]:
    kinds = [type(each).__name__ for each in (account, point, raw, when)]
    return [*kinds, account == ACCOUNT, point.x + point.y, raw.decode(), when.year]


async def test_explicit_wins_over_result_over_variable_over_default(bed: Bed) -> None:
    slip = [
        ActivitySpec("make-account"),
        ActivitySpec("echo", {"value": "explicit"}, id="explicit"),
        ActivitySpec("echo", {"value": ResultOf("explicit")}, id="result"),
    ]
    assert (await bed.run(slip, make_account, echo, variables={"value": "variable"})).results["echo"] == "explicit"
    outcome = await bed.run([ActivitySpec("echo")], echo, variables={"value": "variable"})
    assert outcome.results["echo"] == "variable"
    assert (await bed.run([ActivitySpec("echo")], echo)).results["echo"] == "default"


async def test_an_explicit_none_is_none(bed: Bed) -> None:
    outcome = await bed.run([ActivitySpec("echo", {"value": None})], echo, variables={"value": "variable"})
    assert outcome.status == "completed"
    assert outcome.results["echo"] is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [((), ACCOUNT.model_dump(mode="json")), (("address", "city"), "Oslo"), (("address", "lines", 1), "b")],
)
async def test_result_of_follows_its_path(bed: Bed, path: tuple[str | int, ...], expected: Any) -> None:
    slip = [ActivitySpec("make-account"), ActivitySpec("echo", {"value": ResultOf("make-account", *path)})]
    assert (await bed.run(slip, make_account, echo)).results["echo"] == expected


@pytest.mark.parametrize("path", [("nowhere",), ("address", "lines", 9), ("address", "city", "x"), (0,)])
async def test_a_path_that_leads_nowhere_is_a_permanent_fault(memory: Bed, path: tuple[str | int, ...]) -> None:
    slip = [ActivitySpec("make-account"), ActivitySpec("echo", {"value": ResultOf("make-account", *path)})]
    outcome = await memory.run(slip, make_account, echo)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "'echo'" in outcome.fault.message
    assert "'value'" in outcome.fault.message


async def test_arguments_arrive_as_the_types_of_the_signature(bed: Bed) -> None:
    arguments = {"account": ACCOUNT, "point": Point(1, 2), "raw": b"bytes", "when": ACCOUNT.made}
    outcome = await bed.run([ActivitySpec("typed", arguments)], typed)
    assert outcome.results["typed"] == ["Account", "Point", "bytes", "datetime", True, 3, "bytes", 2026]


async def test_a_declared_result_is_typed_again_for_its_reader(bed: Bed) -> None:
    @activity
    async def read(ctx: ActivityContext) -> bool:
        return ctx.result_of(make_account) == ACCOUNT and ctx.result_of("make-account")["address"]["city"] == "Oslo"

    outcome = await bed.run([ActivitySpec("make-account"), ActivitySpec("read")], make_account, read)
    assert outcome.results["read"] is True
    first = await bed.run([ActivitySpec("make-account")], make_account)
    assert first.result_of(make_account) == ACCOUNT


async def test_a_result_that_nobody_declared_leaves_the_message(bed: Bed) -> None:
    seen: list[str] = []

    @activity
    async def late(ctx: ActivityContext) -> Any:
        try:
            ctx.result_of("make-account")
        except Exception as exc:
            seen.append(str(exc))
        return (await ctx.fetch_result_of(make_account)).address.city

    slip = [ActivitySpec("make-account"), ActivitySpec("echo"), ActivitySpec("late")]
    outcome = await bed.run(slip, make_account, echo, late)
    assert "no longer travels" in seen[0]
    if bed.mode == "none":
        assert outcome.status == "failed"
        assert outcome.fault is not None
        assert outcome.fault.error == "StoreRequired"
    else:
        assert outcome.results["late"] == "Oslo"


class Terse:
    """A codec that writes an empty dict as no bytes at all, as protobuf does with an empty message."""

    media_type, binary = "application/x-terse", False

    def encode(self, plain: Any) -> bytes:
        return json.dumps(plain).encode() if plain else b""

    def decode(self, data: bytes) -> Any:
        return json.loads(data) if data else {}


async def test_a_result_of_no_bytes_is_a_result_after_it_left_the_message(
    stored: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    @activity("first")
    async def first() -> dict[str, int]:
        return {}

    @activity("second")
    async def second() -> int:
        return 2

    @activity("third")
    async def third(ctx: ActivityContext) -> Any:
        return [await ctx.fetch_result_of("first")]

    monkeypatch.setattr(PluginRegistry, "serializers", lambda _: [Terse()])
    slip = [ActivitySpec("first"), ActivitySpec("second"), ActivitySpec("third")]
    outcome = await stored.run(slip, first, second, third)
    assert outcome.results == {"first": {}, "second": 2, "third": [{}]}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({}, "account"), ({"account": 5}, "account"), ({"account": {"id": "x"}}, "account.id")],
)
async def test_a_wrong_argument_is_a_permanent_fault_before_execution(
    bed: Bed, arguments: dict[str, Any], named: str
) -> None:
    ran: list[int] = []

    @activity
    async def strict(account: Account) -> None:
        ran.append(1)

    outcome = await bed.run([ActivitySpec("strict", arguments)], strict)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "'strict'" in outcome.fault.message
    assert named in outcome.fault.message
    assert not ran


async def test_an_unknown_argument_is_a_permanent_fault_that_names_it(memory: Bed) -> None:
    outcome = await memory.run([ActivitySpec("echo", {"value": 1, "valeu": 2})], echo)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "valeu" in outcome.fault.message


async def test_fault_texts_do_not_show_the_value(memory: Bed) -> None:
    @activity
    async def number(value: int) -> None: ...

    outcome = await memory.run([ActivitySpec("number", {"value": "hunter2"})], number)
    assert outcome.fault is not None
    assert "hunter2" not in outcome.fault.message


async def test_a_result_of_another_type_than_declared_is_permanent(bed: Bed) -> None:
    attempts: list[int] = []

    @activity
    async def lies() -> int:
        attempts.append(1)
        return "not a number"  # type: ignore[return-value]

    outcome = await bed.run([ActivitySpec("lies")], lies)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "'lies'" in outcome.fault.message
    assert attempts == [1]


class Numbered(BaseModel):
    number: int


async def _numbered(memory: Bed, number: Any) -> Outcome:
    @activity
    async def opened() -> Numbered:
        made = Numbered(number=1)
        made.number = number  # pydantic does not look at it
        return made

    return await memory.run([ActivitySpec("opened")], opened)


async def test_a_result_that_became_wrong_is_permanent_and_not_shown(
    memory: Bed, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    outcome = await _numbered(memory, "hunter2")
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "'opened' returned another type than it declares: 'number'" in outcome.fault.message
    assert "hunter2" not in outcome.fault.message
    assert "hunter2" not in "".join(capfd.readouterr())
    assert not recwarn.list


async def test_a_result_that_can_be_read_as_declared_is_one(memory: Bed, recwarn: pytest.WarningsRecorder) -> None:
    assert (await _numbered(memory, "42")).status == "completed"
    assert not recwarn.list


@activity("whatever")
async def whatever() -> Any:
    return {"of": [float("nan")]}


@activity("table")
async def table() -> dict:  # type: ignore[type-arg]
    return {"of": float("inf")}


@activity("number")
async def number() -> float:
    return float("-inf")


@pytest.mark.parametrize("made", [whatever, table, number], ids=lambda made: made.name)
async def test_a_result_that_is_no_number_is_refused_and_never_becomes_none(memory: Bed, made: Any) -> None:
    outcome = await memory.run([ActivitySpec(made.name)], made)
    assert outcome.fault is not None
    assert outcome.fault.error == "SerializationError"
    assert f"result of activity {made.name!r}: value" in outcome.fault.message
    assert "send None or a string" in outcome.fault.message


async def test_a_result_no_codec_can_carry_is_permanent_and_names_the_activity(bed: Bed) -> None:
    attempts: list[int] = []

    @activity
    async def lies() -> Any:
        attempts.append(1)
        return object()

    outcome = await bed.run([ActivitySpec("lies")], lies)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "'lies'" in outcome.fault.message
    assert attempts == [1]


@pytest.mark.parametrize("value", [object(), float("inf"), "\ud800", 2**70])
async def test_a_value_no_codec_can_carry_is_refused_at_the_producer(memory: Bed, value: Any) -> None:
    with pytest.raises((SerializationError, InvalidWorkflow)) as refused:
        await memory.dispatch([ActivitySpec("echo", {"value": value})])
    assert "'echo'" in str(refused.value)
    with pytest.raises((SerializationError, InvalidWorkflow), match="'vary'"):
        await memory.dispatch([ActivitySpec("echo")], variables={"vary": value})
    assert (await memory.transport.queues("echo"))["echo"].ready == 0


@pytest.mark.parametrize("value", [object(), "\ud800", 2**70], ids=["object", "surrogate", "number"])
async def test_of_several_arguments_the_one_no_codec_can_carry_is_named(memory: Bed, value: Any) -> None:
    with pytest.raises(SerializationError, match="argument 'bad' of activity 'echo'"):
        await memory.dispatch([ActivitySpec("echo", {"value": 1, "bad": value, "more": [2]})])


async def test_a_result_of_something_later_is_refused_at_the_producer(memory: Bed) -> None:
    with pytest.raises(InvalidWorkflow, match="comes later"):
        await memory.dispatch([ActivitySpec("echo", {"value": ResultOf("late")}), ActivitySpec("late")])


async def test_variables_are_set_and_removed_by_steps(bed: Bed) -> None:
    @activity
    async def setter(ctx: ActivityContext) -> list[str]:
        ctx.variables["new"] = {"deep": [1]}
        ctx.variables["changed"] = "after"
        del ctx.variables["gone"]
        return sorted(ctx.variables)

    @activity
    async def reader(ctx: ActivityContext, new: dict[str, Any], changed: str, gone: str = "default") -> list[Any]:
        return [new, changed, gone, len(ctx.variables)]

    slip = [ActivitySpec("setter"), ActivitySpec("reader")]
    outcome = await bed.run(slip, setter, reader, variables={"changed": "before", "gone": 1, "kept": 2})
    assert outcome.results["reader"] == [{"deep": [1]}, "after", "default", 3]
    assert outcome.variables == {"new": {"deep": [1]}, "changed": "after", "kept": 2}


async def test_variables_of_a_failed_attempt_are_dropped(bed: Bed) -> None:
    @activity(retry=None)
    async def flaky(ctx: ActivityContext) -> None:
        if ctx.attempt == 1:
            ctx.variables["half"] = 1
            raise ValueError("no")

    outcome = await bed.run([ActivitySpec("flaky")], flaky)
    assert outcome.status == "completed"
    assert dict(outcome.variables) == {}


@pytest.mark.parametrize("name", ["", "x" * 129, "\ud800"])
async def test_a_variable_name_that_cannot_travel_is_a_permanent_fault(memory: Bed, name: str) -> None:
    @activity
    async def setter(ctx: ActivityContext) -> None:
        ctx.variables[name] = 1

    outcome = await memory.run([ActivitySpec("setter")], setter)
    assert outcome.status == "failed"
