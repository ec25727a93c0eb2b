"""An entry as the body of a message: when it is due, when it ends, then the value."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from paigeant.errors import BackendCorrupt

_HEAD = struct.Struct(">Bdd")
_FORMAT = 1
OVERHEAD = _HEAD.size
DELETED = b"\x00"
"""What takes the place of a deleted entry, so that its revision is never used again."""


class Stored(NamedTuple):
    """What the server has under a key.

    :param revision: sequence of the message; 0 if there is none.
    :param value: ``None``: deleted.
    :param end: server time after which it counts as absent.
    """

    revision: int
    value: bytes | None = None
    due: float | None = None
    end: float | None = None

    def lives(self, now: float) -> bool:
        """Whether there is an entry."""
        return self.value is not None and (self.end is None or now < self.end)


def encode(value: bytes, due: float | None, end: float | None) -> bytes:
    """The body of a message."""
    return _HEAD.pack(_FORMAT, math.nan if due is None else due, math.nan if end is None else end) + value


def decode(body: bytes, revision: int, key: str) -> Stored:
    """The reverse.

    :raises BackendCorrupt: somebody else wrote it.
    """
    if body == DELETED:
        return Stored(revision)
    if len(body) < OVERHEAD or body[0] != _FORMAT:
        raise BackendCorrupt(f"the NATS entry {key!r} was not written by Paigeant, or by a newer release")
    _, due, end = _HEAD.unpack_from(body)
    return Stored(revision, body[OVERHEAD:], None if math.isnan(due) else due, None if math.isnan(end) else end)
