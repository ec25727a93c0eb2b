"""The default codec: JSON (RFC 8259), restricted to what every reader understands alike (RFC 7493)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json, to_json

from ..errors import SerializationError
from ..plugins import PluginSettings, SerializerPlugin, hookimpl
from .plain import MAX_DEPTH, PlainRules, check_plain, unique_dict

MAX_INT = 2**53 - 1
"""Larger integers lose digits in readers that know only IEEE 754 numbers."""

_rules = PlainRules(-MAX_INT, MAX_INT, binary=False)
_DIGITS = bytes(48 if chr(byte).isdigit() else 46 for byte in range(128)) + b"." * 128
_LONG_NUMBER = b"0" * 16
_decode = json.JSONDecoder(object_pairs_hook=unique_dict).decode


class JsonCodec:
    """Compact UTF-8 JSON. What ``encode`` refuses, ``decode`` refuses too: NaN and infinity, keys that
    are not strings, lone surrogates, integers beyond 2**53-1 either way, more than 100 levels, and,
    on reading, duplicate keys, a byte-order mark or any other encoding.

    The order of keys is kept; equal values in equal order give equal bytes.
    """

    media_type = "application/json"
    binary = False

    def encode(self, plain: Any) -> bytes:
        """:raises SerializationError: naming the path of the value it cannot carry."""
        check_plain(plain, _rules)
        return to_json(plain)

    def decode(self, data: bytes) -> Any:
        """:raises SerializationError: these bytes are not such JSON."""
        plain = _canonical(data)
        return self._decode(data) if plain is _UNSURE else plain

    def _decode(self, data: bytes) -> Any:
        try:
            plain = _decode(data.decode())
        except (ValueError, RecursionError) as exc:
            raise SerializationError(f"not JSON as {self.media_type!r} allows it: {exc}") from exc
        check_plain(plain, _rules)
        return plain


_UNSURE: Any = object()


def _canonical(data: bytes) -> Any:
    """The value of bytes that are exactly what ``encode`` makes, or ``_UNSURE``.

    The fast parser is lenient; but what comes out of ``to_json`` again, byte for byte, had no duplicate
    keys, no NaN and no stray encoding. Long numbers and deep nesting are left to the strict way.
    """
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH or _LONG_NUMBER in data.translate(_DIGITS):
        return _UNSURE
    try:
        plain = from_json(data, allow_inf_nan=False)
        return plain if to_json(plain) == data else _UNSURE
    except ValueError:
        return _UNSURE


@hookimpl
def paigeant_serializers() -> Iterator[SerializerPlugin[PluginSettings]]:
    """Register ``json``."""
    yield SerializerPlugin("json", "JSON (RFC 8259), strict", PluginSettings, lambda _: JsonCodec())
