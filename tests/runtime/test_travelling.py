"""Typed values on their way from activity to activity: what is sent is what is received."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from paigeant import ActivitySpec, ResultOf, activity
from paigeant.errors import SerializationError

from ..support import Bed

PNG = b"\x89PNG\xff"


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    amount_cents: int = 0


class StrictCamel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", serialize_by_alias=True)
    card_token: str


class ReadOtherwise(BaseModel):
    x: int = Field(validation_alias=AliasChoices("ex", "exx"))


class WrittenOtherwise(BaseModel):
    x: int = Field(serialization_alias="ex")


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    amount: int

    @computed_field
    @property
    def twice(self) -> int:
        return 2 * self.amount


class Parsed(BaseModel):
    raw: Json[dict[str, int]]


class Text(BaseModel):
    data: bytes


class Binary(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


@dataclass
class Blob:
    data: bytes


class Typed(TypedDict):
    data: bytes


VALUES: list[tuple[Any, Any]] = [
    (Camel, Camel(amountCents=4200)),
    (StrictCamel, StrictCamel(cardToken="tok")),
    (ReadOtherwise, ReadOtherwise(ex=1)),
    (WrittenOtherwise, WrittenOtherwise(x=1)),
    (Computed, Computed(amount=2)),
    (Parsed, Parsed(raw='{"a": 1}')),
    (Text, Text(data=b"text")),
    (Binary, Binary(data=PNG)),
    (Blob, Blob(PNG)),
    (Typed, {"data": PNG}),
    (list[Blob], [Blob(PNG)]),
    (bytes, PNG),
]


class Pair:
    """An activity that returns a value, and one that takes one, of the same type."""

    def __init__(self, kind: Any, value: Any = None) -> None:
        self.received: list[Any] = []
        self.runs = 0

        def make() -> Any:
            self.runs += 1
            return value

        def take(value: Any) -> None:
            self.received.append(value)

        make.__annotations__["return"] = take.__annotations__["value"] = kind
        self.make, self.take = activity(make), activity(take)


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=lambda one: getattr(one, "__name__", None))
async def test_results_arguments_and_variables_arrive_as_they_were_sent(memory: Bed, kind: Any, value: Any) -> None:
    pair = Pair(kind, value)
    async with memory.worker(pair.make, pair.take):
        slip = [ActivitySpec("make"), ActivitySpec("take", arguments={"value": ResultOf("make")})]
        outcome = await memory.outcome(await memory.dispatch(slip))
        assert outcome.result_of(pair.make) == value
        await memory.outcome(await memory.dispatch([ActivitySpec("take", arguments={"value": value})]))
        await memory.outcome(await memory.dispatch([ActivitySpec("take")], variables={"value": value}))
    assert pair.received == [value, value, value]


async def test_what_has_aliases_is_understood_by_either_name(memory: Bed) -> None:
    pair = Pair(Camel)
    async with memory.worker(pair.take):
        for plain in ({"amountCents": 7}, {"amount_cents": 7}):
            await memory.outcome(await memory.dispatch([ActivitySpec("take", arguments={"value": plain})]))
    assert pair.received == [Camel(amountCents=7)] * 2


async def test_bytes_that_a_model_writes_as_text_are_a_fault_at_once_with_the_remedy(memory: Bed) -> None:
    pair = Pair(Text, Text(data=PNG))
    async with memory.worker(pair.make):
        outcome = await memory.outcome(await memory.dispatch([ActivitySpec("make")]))
    assert outcome.fault is not None
    assert (outcome.fault.error, pair.runs) == ("PermanentFault", 1)
    assert "ser_json_bytes='base64'" in outcome.fault.message
    with pytest.raises(SerializationError, match=r"'value'.*ser_json_bytes='base64'"):
        await memory.dispatch([ActivitySpec("take", arguments={"value": Text(data=PNG)})])


class Login(BaseModel):
    token: SecretStr


SECRETS = [(SecretStr, SecretStr("tok")), (SecretBytes, SecretBytes(b"tok")), (Login, Login(token="tok"))]


@pytest.mark.parametrize(("kind", "secret"), SECRETS, ids=lambda one: getattr(one, "__name__", None))
async def test_a_secret_of_which_asterisks_would_arrive_is_a_fault(memory: Bed, kind: Any, secret: Any) -> None:
    pair = Pair(kind, secret)
    async with memory.worker(pair.make, pair.take):
        for spec in (ActivitySpec("take", arguments={"value": secret}), ActivitySpec("make")):
            outcome = await memory.outcome(await memory.dispatch([spec]))
            assert outcome.fault.error == "PermanentFault"
            assert "holds a secret (SecretStr or the like) as asterisks" in outcome.fault.message
    assert pair.received == []


class Revealed(BaseModel):
    token: SecretStr

    @field_serializer("token", when_used="json")
    def reveal(self, token: SecretStr) -> str:
        return token.get_secret_value()


async def test_a_secret_that_is_revealed_on_purpose_arrives(memory: Bed) -> None:
    pair = Pair(Revealed, value := Revealed(token="tok"))
    async with memory.worker(pair.make, pair.take):
        slip = [ActivitySpec("make"), ActivitySpec("take", arguments={"value": ResultOf("make")})]
        await memory.outcome(await memory.dispatch(slip))
    assert pair.received == [value]


async def test_asterisks_that_are_no_secret_arrive(memory: Bed) -> None:
    pair = Pair(str, "*" * 10)
    async with memory.worker(pair.make, pair.take):
        slip = [ActivitySpec("make"), ActivitySpec("take", arguments={"value": ResultOf("make")})]
        await memory.outcome(await memory.dispatch(slip))
    assert pair.received == ["*" * 10]


async def test_parameters_may_have_any_name_and_any_default(memory: Bed) -> None:
    @activity
    def odd(_x: int, json: str, model_config: int = 3, items: list[int] = []) -> list[Any]:  # noqa: B006
        return [_x, json, model_config, *items]

    async with memory.worker(odd):
        outcome = await memory.outcome(await memory.dispatch([ActivitySpec("odd", arguments={"_x": 1, "json": "j"})]))
    assert outcome.result_of(odd) == [1, "j", 3]
