"""The serializer contract: a codec of values."""

from __future__ import annotations

from typing import Any, Protocol


class Serializer(Protocol):
    """Encodes plain values: ``None``, ``bool``, ``int``, ``float``, ``str``, ``bytes`` (if
    ``binary``), lists and dicts with string keys. pydantic converts typed to plain and back.

    * **C01** ``decode(encode(x)) == x`` with the same types, for every plain value it accepts.
    * **C02** ``encode`` is deterministic and has no side effects.
    * **C03** A value it cannot carry raises ``SerializationError`` that says which.
    * **C04** ``decode`` of any other bytes raises ``SerializationError`` and nothing else; it never
      executes or imports anything named in them.
    """

    media_type: str
    """Exact media type, signed with the digest; readers choose the codec by it."""

    binary: bool
    """Whether it carries ``bytes`` as they are, which the conformance kit holds it to. Workflows do not depend
    on it: pydantic makes base64 text of all bytes before any serializer gets them, so that every one can read them."""

    def encode(self, plain: Any) -> bytes: ...

    def decode(self, data: bytes) -> Any: ...
