"""Shortcuts that must not be felt: what is remembered is bounded, and no codec is passed by."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from paigeant.builtin.json_codec import JsonCodec
from paigeant.envelope import Codecs, Security, open_envelope
from paigeant.envelope import chain as chain_module

from .records_kit import LIMIT, NOW, dispatched, done, message, signed


class Rot13(JsonCodec):
    """A codec built upon another: what leaves must be what its own ``encode`` makes."""

    media_type = "application/x-rot13"

    def encode(self, plain: Any) -> bytes:
        return super().encode(plain)[::-1]

    def decode(self, data: bytes) -> Any:
        return super().decode(data[::-1])


class Wrapped:
    """A codec around another, which passes on what it does not know."""

    media_type = "application/x-wrapped"

    def __init__(self, inner: JsonCodec) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode(self, plain: Any) -> bytes:
        return self._inner.encode(plain)[::-1]

    def decode(self, data: bytes) -> Any:
        return self._inner.decode(data[::-1])


@pytest.mark.parametrize("codec", [Rot13(), Wrapped(JsonCodec())])
def test_a_codec_built_upon_json_encodes_itself(codec: Any) -> None:
    codecs = Codecs([codec])
    ref, data = codecs.encode({"secret": 1})
    assert data == b'{"secret":1}'[::-1]
    assert codecs.decode(ref, data) == {"secret": 1}


def test_json_itself_takes_the_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    codecs = Codecs([JsonCodec()])
    monkeypatch.setattr(JsonCodec, "encode", None)
    assert codecs.encode({"a": 1})[1] == b'{"a":1}'


async def opened_elsewhere(count: int, reader: Security, plan: str, hops: int = 0) -> None:
    """Another process made ``count`` workflows; ``reader`` opens them."""
    for number in range(count):
        sealed = await dispatched(signed(), "a", "b", "c", variables={"plan": f"{number} {plan}"})
        for _ in range(hops):
            sealed = await done(sealed, signed())
        await open_envelope(message(sealed), reader, now=NOW, limit=LIMIT)


async def test_values_are_not_remembered() -> None:
    reader = signed()
    await opened_elsewhere(2, reader, "")
    tracemalloc.start()
    try:
        await opened_elsewhere(50, reader, "x" * 100_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000


async def test_what_is_remembered_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "_MAX_TOTAL", 20_000)
    reader = signed()
    await opened_elsewhere(30, reader, "", hops=2)
    known = reader.verified._by_payload.values()
    assert 1 < len(known) < 30
    assert sum(len(record.payload) for opened in known for record in opened.envelope.records) <= 20_000
    sealed = await done(await dispatched(signed()), signed())
    for _ in range(2):  # the same again counts once
        await open_envelope(message(sealed), reader, now=NOW, limit=LIMIT)
    assert reader.verified._total == sum(len(record.payload) for opened in known for record in opened.envelope.records)
