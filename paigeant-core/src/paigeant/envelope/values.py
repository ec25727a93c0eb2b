"""Values: encoded by a serializer, referenced by digest, length and media type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..abc import Serializer
from ..errors import ConfigurationError, PaigeantError, SerializationError
from ..model.records import MEDIA_TYPE, ValueRef
from .digest import sha


class Codecs:
    """The configured serializers: the first writes, all read.

    :raises ConfigurationError: there is none, two have one media type, or one has a media type that no record
        can carry.
    """

    def __init__(self, serializers: Sequence[Serializer]) -> None:
        if not serializers:
            raise ConfigurationError("no serializer is configured; set PAIGEANT_SERIALIZERS, for example to json")
        for serializer in serializers:
            if not MEDIA_TYPE.fullmatch(serializer.media_type):
                raise ConfigurationError(
                    f"serializer {type(serializer).__name__}: media type {serializer.media_type!r} must match "
                    f"{MEDIA_TYPE.pattern}"
                )
        self.writer = serializers[0]
        self._encode_plain = _encoder(self.writer)
        self._readers = {serializer.media_type: serializer for serializer in serializers}
        if len(self._readers) != len(serializers):
            raise ConfigurationError(
                "two serializers in PAIGEANT_SERIALIZERS have the same media type; list one of them"
            )

    def encode(self, plain: Any) -> tuple[ValueRef, bytes]:
        """The reference of a value that pydantic made plain, and its bytes.

        :raises SerializationError: the serializer cannot carry it.
        """
        try:
            data = self._encode_plain(plain)
        except PaigeantError:
            raise
        except Exception as exc:
            raise SerializationError(f"{self.writer.media_type}: cannot encode: {type(exc).__name__}") from exc
        return ValueRef(h=sha(data), n=len(data), mt=self.writer.media_type), data

    def decode(self, ref: ValueRef, data: bytes) -> Any:
        """The plain value. ``data`` is already known to have the digest of ``ref``.

        :raises SerializationError: no configured serializer reads its media type, or the bytes are not of it.
        """
        reader = self._readers.get(ref.mt)
        if reader is None:
            known = ", ".join(sorted(self._readers))
            raise SerializationError(
                f"no serializer for media type {ref.mt!r} (configured: {known}); add one to PAIGEANT_SERIALIZERS"
            )
        try:
            return reader.decode(data)
        except PaigeantError:
            raise
        except Exception as exc:
            raise SerializationError(f"{ref.mt}: cannot decode: {type(exc).__name__}") from exc


def _encoder(writer: Serializer) -> Callable[[Any], bytes]:
    """The encoder of what pydantic made plain: the shortcut, if it stands beside the very ``encode`` that is used.

    A codec built upon another must not be passed by, for example one that encrypts what the other wrote.
    """
    for kind in type(writer).__mro__:
        if "encode" in vars(kind):
            name = "encode_plain" if "encode_plain" in vars(kind) else "encode"
            encoder: Callable[[Any], bytes] = getattr(writer, name)
            return encoder
    return writer.encode
