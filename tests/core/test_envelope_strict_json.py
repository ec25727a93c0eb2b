"""The strict reader: what two readers could understand differently is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paigeant.envelope.strict_json import loads
from paigeant.errors import EnvelopeFormatError, LimitExceeded, PaigeantError


def read(data: bytes) -> Any:
    return loads(data, limit=100_000, what="test")


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b'{"o":{"a":1,"\\u0061":2}}',
        b"NaN",
        b"Infinity",
        b"[-Infinity]",
        b"1e999",
        b"-1e999",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b'"\\ud800"',
        b'"\\uDC00x"',
        b'{"\\ud800":1}',
        b'\xef\xbb\xbf{"a":1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '"a"'.encode("utf-16"),
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a':1}",
        b"1 2",
        b'"\n"',
        b"\x00",
        b"01",
        b"[" * 20,
        b"]" * 50,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeFormatError, match="test: not strict JSON"):
        read(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"9007199254740991", 2**53 - 1),
        (b"-9007199254740991", -(2**53) + 1),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'{"a":{"a":[1.5,null,true]}}', {"a": {"a": [1.5, None, True]}}),
        (b'"' + b"[" * 500 + b'"', "[" * 500),
        (b'["\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[","\\\\"]', ['"' + "[" * 38, "\\"]),
        (b"[" + b"[]," * 400 + b"[]]", [[]] * 401),
        (b"1e308", 1e308),
    ],
    ids=lambda data: repr(data)[:24],
)
def test_accepted(data: bytes, value: Any) -> None:
    assert read(data) == value


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_at_most_32_levels(opening: bytes, closing: bytes) -> None:
    levels = opening.count(b"[") + opening.count(b"{")
    times = 32 // levels
    assert read(opening * times + b"1" + closing * times) is not None
    with pytest.raises(LimitExceeded, match="32 levels"):
        read(b"[" + opening * times + b"1" + closing * times + b"]")


@pytest.mark.parametrize("data", [b"[" * 90_000, b"[" * 45_000 + b"]" * 45_000, b'{"a":' * 15_000])
def test_bottomless_nesting_is_no_crash(data: bytes) -> None:
    with pytest.raises((LimitExceeded, EnvelopeFormatError)):
        read(data)


def test_the_limit_is_of_bytes() -> None:
    assert loads(b'"abc"', limit=5, what="x") == "abc"
    with pytest.raises(LimitExceeded, match="x: 6 bytes, more than the limit of 5"):
        loads(b'"abcd"', limit=5, what="x")


def test_an_error_does_not_show_the_data() -> None:
    for data in (b'{"secret" "s3cr3t"}', b'"s3cr3t\xff"', b'"s3cr3t\\ud800"'):
        with pytest.raises(EnvelopeFormatError) as caught:
            read(data)
        assert "s3cr3t" not in str(caught.value)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(values, st.booleans())
def test_what_json_writes_is_read_back(value: Any, ascii_only: bool) -> None:
    assert read(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def _depth(value: Any) -> int:
    if isinstance(value, (list, dict)):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@given(values, st.integers(0, 40), st.text('[]{}\\"', max_size=80))
def test_depth_is_counted_exactly(value: Any, more: int, noise: str) -> None:
    for _ in range(more):
        value = [noise, value]
    data = json.dumps(value).encode()
    if _depth(value) <= 32:
        assert read(data) == value
    else:
        with pytest.raises(LimitExceeded):
            read(data)


@given(st.binary(max_size=200) | st.text('{}[]",:0123456789eE.-\\untrfalsu', max_size=60).map(str.encode))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(PaigeantError):
        read(data)
