"""What a state store holds: entries, and the writes that may ride along with a settle."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from ..errors import ConfigurationError

KEY = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64})*")
"""What a key of an entry matches, whole."""


class Expect(Enum):
    """What a write expects to find, where it is not a revision."""

    ANY = "anything"
    ABSENT = "no entry"

    def __str__(self) -> str:
        return self.value


class Keep(Enum):
    """Stands for the value that is already there: only ``due`` and ``ttl`` change."""

    KEEP = "keep"


ANY: Final = Expect.ANY
ABSENT: Final = Expect.ABSENT
KEEP: Final = Keep.KEEP

Expected: TypeAlias = int | Literal[Expect.ANY, Expect.ABSENT]


class Entry(Struct, frozen=True, gc=False):
    """One stored value.

    :param revision: rises with every write of the key and is never reused, not even after delete.
    :param due: store-clock time (seconds since the epoch) at which somebody must look, if any.
    """

    key: str
    value: bytes
    revision: int
    due: float | None = None


class Write(Struct, frozen=True, gc=False):
    """A put that takes effect together with a publish or settle, or not at all.

    :param value: the new value, or ``KEEP``.
    :param expected: a revision, ``ABSENT`` or ``ANY``.
    :param due: store-clock time; ``None`` removes it.
    :param ttl: seconds the entry must live at least; ``None`` is for ever.
    """

    key: str
    value: bytes | Literal[Keep.KEEP]
    expected: Expected = ANY
    due: float | None = None
    ttl: float | None = None


def check_key(key: str) -> str:
    """Return ``key`` if it is well-formed.

    :raises ConfigurationError: otherwise. Keys are segments ``[A-Za-z0-9_-]{1,64}`` joined by ``/``.
    """
    if KEY.fullmatch(key) is None:
        raise ConfigurationError(
            f"store key {key!r} is not made of segments [A-Za-z0-9_-]{{1,64}} joined by '/'; "
            "hash user text before using it in a key"
        )
    return key
