"""MessagePack as an extra: smaller than JSON."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from ..errors import MissingExtra, SerializationError
from ..plugins import PluginSettings, SerializerPlugin, hookimpl
from .plain import PlainRules, check_plain, unique_dict

_rules = PlainRules(-(2**63), 2**64 - 1, binary=True)


class MsgpackCodec:
    """MessagePack without extension types, so no timestamps and no application types.

    Refuses, both ways: NaN and infinity, keys that are not strings, integers outside 64 bits, more
    than 100 levels, and, on reading, duplicate keys and trailing bytes. The order of keys is kept.
    It carries bytes as they are, but those of workflows come to it as base64 text (see ``Serializer.binary``).

    :raises MissingExtra: the ``msgpack`` package is not installed.
    """

    media_type = "application/msgpack"
    binary = True

    def __init__(self) -> None:
        try:
            msgpack = import_module("msgpack")
        except ImportError as exc:
            raise MissingExtra(
                "the serializer 'msgpack' needs an extra: pip install \"paigeant-core[msgpack]\""
            ) from exc
        self._pack = msgpack.packb
        self._unpack = msgpack.unpackb

    def encode(self, plain: Any) -> bytes:
        """:raises SerializationError: naming the path of the value it cannot carry."""
        check_plain(plain, _rules)
        packed: bytes = self._pack(plain, use_bin_type=True, strict_types=True)
        return packed

    def decode(self, data: bytes) -> Any:
        """:raises SerializationError: these bytes are not such MessagePack."""
        try:
            plain = self._unpack(data, raw=False, object_pairs_hook=unique_dict)
        except SerializationError:
            raise
        except Exception as exc:
            raise SerializationError(f"not MessagePack as {self.media_type!r} allows it: {exc}") from exc
        check_plain(plain, _rules)
        return plain


@hookimpl
def paigeant_serializers() -> Iterator[SerializerPlugin[PluginSettings]]:
    """Register ``msgpack``."""
    yield SerializerPlugin("msgpack", "MessagePack, without extension types", PluginSettings, lambda _: MsgpackCodec())
