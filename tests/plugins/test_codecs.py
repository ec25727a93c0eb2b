"""The JSON and MessagePack codecs: exact round trips, and refusals that say where."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from enum import IntEnum
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paigeant.builtin.json_codec import JsonCodec
from paigeant.builtin.msgpack_codec import MsgpackCodec
from paigeant.builtin.plain import MAX_DEPTH
from paigeant.errors import SerializationError

CODECS = [JsonCodec(), MsgpackCodec()]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=["json", "msgpack"])


def plain(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
        max_leaves=30,
    )


COMMON = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON_VALUES = plain(COMMON | st.integers(-(2**53) + 1, 2**53 - 1))
MSGPACK_VALUES = plain(COMMON | st.integers(-(2**63), 2**64 - 1) | st.binary())


def exact(value: Any) -> Any:
    """A form that differs between 1, 1.0 and True, between 0.0 and -0.0, and between orders of keys."""
    if isinstance(value, dict):
        return "dict", [(key, exact(item)) for key, item in value.items()]
    if isinstance(value, list):
        return "list", [exact(item) for item in value]
    return type(value).__name__, repr(value)


@given(JSON_VALUES)
def test_json_round_trip(value) -> None:
    codec = JsonCodec()
    data = codec.encode(value)
    assert exact(codec.decode(data)) == exact(value)
    assert codec.encode(codec.decode(data)) == data
    assert exact(json.loads(data)) == exact(value), "any JSON reader agrees"


@given(MSGPACK_VALUES)
def test_msgpack_round_trip(value) -> None:
    codec = MsgpackCodec()
    data = codec.encode(value)
    assert exact(codec.decode(data)) == exact(value)
    assert codec.encode(codec.decode(data)) == data
    assert exact(msgpack.unpackb(data)) == exact(value), "any MessagePack reader agrees"


@each_codec
@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(codec, data) -> None:
    try:
        value = codec.decode(data)
    except SerializationError:
        return
    assert exact(codec.decode(codec.encode(value))) == exact(value)


@given(st.text(alphabet='[]{}",:0123456789.eE+-\\u dDtrfalsn', max_size=60))
def test_text_that_looks_like_json_decodes_or_is_refused(text) -> None:
    codec = JsonCodec()
    try:
        value = codec.decode(text.encode())
    except SerializationError:
        return
    assert exact(codec.decode(codec.encode(value))) == exact(value)


class Colour(IntEnum):
    RED = 1


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


cycle: list[Any] = []
cycle.append(cycle)
ring: dict[str, Any] = {}
ring["r"] = ring


@each_codec
@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ({"a": [1, (2,)]}, "value['a'][1]", "type tuple is not a plain value"),
        ({"a": {"b": {3}}}, "value['a']['b']", "type set"),
        ([object()], "value[0]", "type object"),
        (Colour.RED, "value", "type Colour"),
        (OrderedDict(), "value", "type OrderedDict"),
        ({1: 2}, "value[1]", "it has a key of type int"),
        ({"a": {None: 2}}, "value['a'][None]", "it has a key of type NoneType"),
        ([0.0, float("nan")], "value[1]", "NaN and infinity"),
        ({"x": float("-inf")}, "value['x']", "NaN and infinity"),
        (["\ud800"], "value[0]", "lone surrogate"),
        ({"\udfff": 1}, r"value['\udfff']", "lone surrogate"),
        ({"k" * 500: {1}}, "value['kkk", "type set"),
        ([10**400], "value[0]", "integer outside"),
        (nested(MAX_DEPTH + 1), "value[0]", "nested deeper than 100 levels"),
        ({"a": {"b": nested(MAX_DEPTH - 1)}}, "value['a']['b'][0]", "nested deeper than 100 levels"),
        (ring, "value['r']['r']", "nested deeper than 100 levels"),
        (cycle, "value[0]", "nested deeper than 100 levels"),
    ],
)
def test_refused_values_are_named_by_path(codec, value, path, reason) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.encode(value)
    assert str(caught.value).startswith(path)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 1000


@each_codec
def test_the_deepest_value_passes_both_ways(codec) -> None:
    assert codec.decode(codec.encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)


@pytest.mark.parametrize("value", [2**53, -(2**53), b"bytes"])
def test_json_alone_refuses(value) -> None:
    with pytest.raises(SerializationError):
        JsonCodec().encode(value)
    assert MsgpackCodec().decode(MsgpackCodec().encode(value)) == value


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_msgpack_refuses_integers_over_64_bits(value) -> None:
    with pytest.raises(SerializationError, match="integer outside"):
        MsgpackCodec().encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"1 2",
        b"NaN",
        b"-Infinity",
        b"1e400",
        b"9007199254740992",
        b"1" * 5000,
        b'{"a": 1, "a": 1}',
        b'[{"a": {"b": 1, "b": 2}}]',
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b"\xef\xbb\xbf1",
        b'"\xff"',
        '"é"'.encode("latin-1"),
        "1".encode("utf-16"),
        b"[" * 101 + b"]" * 101,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"'a'",
        b"[1,]",
        b"01",
        b"\x00",
    ],
)
def test_json_refuses(data) -> None:
    with pytest.raises(SerializationError):
        JsonCodec().decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x01",
        b"\x91",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 101 + b"\x90",
        b"\x91" * 100_000,
        b"\x81\x01\x01",
        b"\x81\xc4\x01a\x01",
        b"\x81\x90\x01",
        b"\x82\xa1a\x01\xa1a\x02",
        b"\xd4\x05\x00",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xa1\xff",
        msgpack.packb(float("nan")),
        msgpack.packb(float("inf")),
    ],
)
def test_msgpack_refuses(data) -> None:
    with pytest.raises(SerializationError):
        MsgpackCodec().decode(data)


def test_compact_utf8() -> None:
    assert JsonCodec().encode({"b": [1, "é", None], "a": True}) == '{"b":[1,"é",null],"a":true}'.encode()


def test_media_types() -> None:
    assert [(codec.media_type, codec.binary) for codec in CODECS] == [
        ("application/json", False),
        ("application/msgpack", True),
    ]


def test_a_missing_extra_names_the_pip_line() -> None:
    code = (
        "import sys\n"
        "sys.modules['msgpack'] = None\n"
        "from paigeant.plugins import CoreSettings, PluginRegistry\n"
        "PluginRegistry(CoreSettings(serializers=['msgpack'])).serializers()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "MissingExtra: the serializer 'msgpack' needs an extra: pip install \"paigeant-core[msgpack]\"" in done.stderr
    )
