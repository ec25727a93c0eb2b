"""Serializers with one deliberate fault each."""

from __future__ import annotations

import itertools
import json
import pickle
from typing import Any

from paigeant.builtin.json_codec import JsonCodec
from paigeant.errors import SerializationError


class ConvertsNumbers(JsonCodec):
    """Whole floats come back as integers."""

    def decode(self, data: bytes) -> Any:
        return _map(super().decode(data), lambda x: int(x) if type(x) is float and x.is_integer() else x)


class SkipsNone(JsonCodec):
    """Leaves out members that are ``None``."""

    def encode(self, plain: Any) -> bytes:
        if isinstance(plain, dict):
            plain = {key: value for key, value in plain.items() if value is not None}
        return super().encode(plain)


class PlainJson(JsonCodec):
    """The standard library as it comes."""

    def encode(self, plain: Any) -> bytes:
        return json.dumps(plain).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data)


class Stringifies(JsonCodec):
    """Writes what it does not know as text."""

    def encode(self, plain: Any) -> bytes:
        try:
            return super().encode(plain)
        except SerializationError:
            return json.dumps(str(plain)[:1000]).encode()


class Pickles(JsonCodec):
    def encode(self, plain: Any) -> bytes:
        return pickle.dumps(plain)

    def decode(self, data: bytes) -> Any:
        return pickle.loads(data)


class Salts(JsonCodec):
    """Adds white space, more each time."""

    counter = itertools.count()

    def encode(self, plain: Any) -> bytes:
        return super().encode(plain) + b" " * (next(self.counter) % 7)


class ChangesItsArgument(JsonCodec):
    def encode(self, plain: Any) -> bytes:
        data = super().encode(plain)
        if isinstance(plain, list):
            plain.clear()
        return data


class SaysNothing(JsonCodec):
    """Refuses without a reason."""

    def encode(self, plain: Any) -> bytes:
        try:
            return super().encode(plain)
        except SerializationError:
            raise SerializationError("cannot encode") from None


class LetsErrorsThrough(JsonCodec):
    """Raises what its library raises for bad bytes."""

    def decode(self, data: bytes) -> Any:
        return json.loads(data.decode())


class ReadsTheFirstValue(JsonCodec):
    """Ignores what follows."""

    def decode(self, data: bytes) -> Any:
        try:
            value, _ = json.JSONDecoder().raw_decode(data.decode())
        except (ValueError, RecursionError) as exc:
            raise SerializationError("bad") from exc
        return value


class GivesText(JsonCodec):
    def encode(self, plain: Any) -> Any:
        return super().encode(plain).decode()

    def decode(self, data: Any) -> Any:
        return super().decode(data if isinstance(data, bytes) else data.encode())


class NamesParameters(JsonCodec):
    """A media type with parameters."""

    media_type = "application/json; charset=utf-8"


def _map(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map(item, change) for item in value]
    return change(value)


SERIALIZERS: list[type[JsonCodec]] = [
    ConvertsNumbers,
    SkipsNone,
    PlainJson,
    Stringifies,
    Pickles,
    Salts,
    ChangesItsArgument,
    SaysNothing,
    LetsErrorsThrough,
    ReadsTheFirstValue,
    GivesText,
    NamesParameters,
]
