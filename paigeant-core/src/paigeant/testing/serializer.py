"""The suite for serializers."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path
from typing import Any, cast

from ..abc.serializer import Serializer
from ..errors import SerializationError
from .kit import Suite, conformance
from .rules import check, fail, refuses

_PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    -(2**53) + 1,
    2**53 - 1,
    0.0,
    1.0,
    -0.5,
    1e300,
    5e-324,
    "",
    "text",
    'é ü 漢 😀 \x00 \u2028 " \\',
    [],
    {},
    [[], [[]], {}],
    {"": "empty key", "ü": 1, "a.b/c": [True, 1, 1.0, "1", None]},
    [1, 1.0, True],
    {"items": [{"id": n, "tags": ["x"] * n} for n in range(20)]},
]
_BINARY: list[Any] = [b"", b"\x00\xff", {"data": bytes(range(256)), "text": "bytes"}, [b"a", "a"]]
_ODD: list[Any] = [2**64, -(2**70), float("inf"), float("-inf"), "\ud800", {"\udfff": 1}]
_SEED = 20240229


class _Foreign:
    """An object no codec knows."""


class SerializerSuite(Suite):
    """Every rule of ``paigeant.abc.Serializer``.

    ::

        class TestCbor(SerializerSuite):
            def make(self, tmp_path: Path) -> CborCodec:
                return CborCodec()
    """

    def make(self, tmp_path: Path) -> Serializer:
        """The serializer."""
        raise TypeError(f"{type(self).__name__} must define make(self, tmp_path) -> Serializer")

    @conformance()
    async def test_C01_plain_values_survive(self, tmp_path: Path) -> None:
        codec = self.make(tmp_path)
        for value in [*_PLAIN, *(_BINARY if codec.binary else []), *_random_values(200)]:
            data = codec.encode(value)
            check(type(data) is bytes, "C01", f"encode gave a {type(data).__name__}", "return bytes")
            back = codec.decode(data)
            check(
                _same(value, back),
                "C01",
                f"{value!r} became {back!r}",
                "keep True, 1 and 1.0 apart; refuse with SerializationError what the format cannot carry",
            )

    @conformance("C03")
    async def test_C01_odd_values_survive_or_are_refused(self, tmp_path: Path) -> None:
        codec = self.make(tmp_path)
        for value in [*_ODD, *([] if codec.binary else _BINARY)]:
            try:
                back = codec.decode(codec.encode(value))
            except SerializationError:
                continue
            check(_same(value, back), "C01", f"{value!r} became {back!r}", "refuse it with SerializationError")

    @conformance()
    async def test_C01_media_type_and_binary_are_fixed(self, tmp_path: Path) -> None:
        first, second = self.make(tmp_path), self.make(tmp_path)
        kind, slash, rest = first.media_type.partition("/")
        check(
            kind and slash and rest and first.media_type == first.media_type.strip().lower() and ";" not in rest,
            "C01",
            f"media_type is {first.media_type!r}",
            "use one plain 'type/subtype' in lower case",
        )
        check(
            (first.media_type, first.binary) == (second.media_type, second.binary) and isinstance(first.binary, bool),
            "C01",
            f"two instances differ, or binary is {first.binary!r}",
            "make both constants",
        )

    @conformance()
    async def test_C02_encoding_is_deterministic(self, tmp_path: Path) -> None:
        codec, other = self.make(tmp_path), self.make(tmp_path)
        for value in [*_PLAIN, *_random_values(50)]:
            twin = copy.deepcopy(value)
            once, again = codec.encode(value), other.encode(twin)
            check(
                once == again == codec.encode(value),
                "C02",
                f"{value!r} was encoded as {once!r} and as {again!r}",
                "depend on nothing but the value",
            )
            check(_same(value, twin), "C02", f"encode changed its argument to {value!r}", "leave the value alone")

    @conformance()
    async def test_C03_what_cannot_be_carried_is_refused(self, tmp_path: Path) -> None:
        codec = self.make(tmp_path)
        endless: list[Any] = []
        endless.append(endless)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        bad = [_Foreign(), {1, 2}, 1j, len, _Foreign, {"a": [1, _Foreign()]}, {1: "x"}, {None: 1}, {("a",): 1}]
        for value in [*bad, endless, deep]:
            shown = repr(value)[:60] if value is not deep else "100 000 nested lists"
            with refuses(SerializationError, "C03", f"encode {shown}", "raise SerializationError ... from exc"):
                codec.encode(value)
        _unnest(deep)

    @conformance()
    async def test_C03_the_refusal_says_which(self, tmp_path: Path) -> None:
        codec = self.make(tmp_path)
        try:
            codec.encode({"fine": 1, "wanted": {"inner": _Foreign()}})
        except SerializationError as exc:
            text = str(exc)
            check(
                "inner" in text or "_Foreign" in text,
                "C03",
                f"an object under ['wanted']['inner'] was refused with {text!r}",
                "name the path or the type in the message",
            )
        else:
            fail("C03", "an object of an unknown class was encoded", "raise SerializationError")

    @conformance()
    async def test_C04_other_bytes_are_refused(self, tmp_path: Path) -> None:
        codec = self.make(tmp_path)
        nested = codec.encode([{"key": ["value", 1, None]}] * 3)
        truncated = [nested[:n] for n in range(len(nested))]
        deep = [b"[" * 100_000, b"\x91" * 100_000, b'{"a":' * 100_000, b"\x81" * 100_000]
        for data in [b"", *truncated, *deep, nested + nested]:
            with refuses(SerializationError, "C04", f"decode {data[:40]!r}", "map every error of the library"):
                codec.decode(data)

    @conformance()
    async def test_C04_no_bytes_raise_anything_else(self, tmp_path: Path) -> None:
        codec = self.make(tmp_path)
        source = random.Random(_SEED)
        good = codec.encode([{"key": ["value", 1, None, 1.5]}] * 3)
        for _ in range(2000):
            data = bytearray(good if source.random() < 0.7 else source.randbytes(source.randrange(1, 40)))
            for _ in range(source.randrange(1, 4)):
                data[source.randrange(len(data))] = source.randrange(256)
            try:
                codec.decode(bytes(data))
            except SerializationError:
                continue
            except Exception as exc:
                fail("C04", f"decode {bytes(data)!r} raised {exc!r}", "map every error of the library")

    @conformance()
    async def test_C04_decoding_executes_nothing(self, tmp_path: Path) -> None:
        codec = self.make(tmp_path)
        trap = tmp_path / "trap"
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            payload = pickle.dumps(_Trap(trap), protocol)
            try:
                codec.decode(payload)
            except Exception as exc:
                check(isinstance(exc, SerializationError), "C04", f"decode raised {exc!r}", "map every error")
            check(not trap.exists(), "C04", "decode ran code named in the bytes", "never use pickle or its kin")


class _Trap:
    """Pickled, it makes a directory where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self._path,)


def _same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    kind = cast("Any", type(one))
    if kind is not type(other):
        return False
    if kind is dict:
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if kind is list:
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _random_values(count: int) -> list[Any]:
    source = random.Random(_SEED)
    return [_random_value(source, 4) for _ in range(count)]


def _random_value(source: random.Random, depth: int) -> Any:
    kind = source.randrange(8 if depth else 6)
    match kind:
        case 0:
            return source.choice([None, True, False])
        case 1:
            return source.randrange(-(2**53) + 1, 2**53)
        case 2:
            return source.uniform(-1e9, 1e9)
        case 3 | 4 | 5:
            return "".join(chr(source.choice([source.randrange(0x20, 0x7F), 0xE9, 0x1F600])) for _ in range(kind))
        case 6:
            return [_random_value(source, depth - 1) for _ in range(source.randrange(4))]
        case _:
            return {f"k{n}": _random_value(source, depth - 1) for n in range(source.randrange(4))}


def _unnest(deep: list[Any]) -> None:
    """Take it apart by hand: freeing it at once would recurse as deeply."""
    while deep:
        deep = deep.pop()
