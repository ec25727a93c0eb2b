"""The default codec: JSON (RFC 8259), restricted to what every reader understands alike (RFC 7493)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from ..errors import SerializationError
from ..model.canonical_json import UNSURE, is_canonical, read_canonical
from ..plugins import PluginSettings, SerializerPlugin, hookimpl
from .plain import MAX_DEPTH, PlainRules, check_plain, unique_dict

MAX_INT = 2**53 - 1
"""Larger integers lose digits in readers that know only IEEE 754 numbers."""

_rules = PlainRules(-MAX_INT, MAX_INT, binary=False)
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

    def encode_plain(self, plain: Any) -> bytes:
        """``encode`` for what pydantic made plain: only numbers and depth are left to look at, as text."""
        try:
            data = to_json(plain, inf_nan_mode="constants")
        except ValueError:
            return self.encode(plain)  # says where it is
        if is_canonical(data, MAX_DEPTH) and b"NaN" not in data and b"Infinity" not in data:
            return data
        return self.encode(plain)

    def decode(self, data: bytes) -> Any:
        """:raises SerializationError: these bytes are not such JSON."""
        if data == b"{}":  # the arguments of a step that takes results and variables only
            return {}
        plain = read_canonical(data, MAX_DEPTH)
        return self._decode(data) if plain is UNSURE else plain

    def _decode(self, data: bytes) -> Any:
        try:
            plain = _decode(data.decode())
        except (ValueError, RecursionError) as exc:
            raise SerializationError(f"not JSON as {self.media_type!r} allows it: {exc}") from exc
        check_plain(plain, _rules)
        return plain


@hookimpl
def paigeant_serializers() -> Iterator[SerializerPlugin[PluginSettings]]:
    """Register ``json``."""
    yield SerializerPlugin("json", "JSON (RFC 8259), strict", PluginSettings, lambda _: JsonCodec())
