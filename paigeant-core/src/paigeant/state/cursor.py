"""The cursor: the one store entry that says where a branch stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from ..errors import BackendCorrupt

FORMAT: Final = 1


class State(StrEnum):
    """``READY``: claimable now; ``RUNNING``: owned; ``WAITING``: for a time or a person; ``ENDED``."""

    READY = "R"
    RUNNING = "X"
    WAITING = "W"
    ENDED = "E"


class Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=FORMAT, gc=False):
    """Where a branch stands. Every change of it is one compare-and-set.

    :param seq: the hop to run next.
    :param head: payload digest of the last record; ``out`` and every message for ``seq`` end with it.
    :param queue: where the message for ``seq`` belongs.
    :param gen: rises with every deliberate re-send, so that no deduplication window swallows it.
    :param sends: how often the sweeper re-sent the message of this hop.
    :param attempt: the attempt to run next, from 1.
    :param crashes: owners that died while running this hop.
    :param owner: nonce of the claim while ``RUNNING``.
    :param parked: why it waits for a person; empty if it waits for time.
    :param until: ``WAITING`` for time: not before this store-clock time.
    :param outcome: terminal status once ``ENDED``.
    :param content: digest of what was dispatched, for idempotent dispatch.
    :param nonce: of the writer: after an unknown outcome, tells whether a write was ours.
    :param exp: when the workflow expires, seconds since the epoch.
    :param out: envelope bytes for ``seq``, where the broker may not hold them.
    """

    seq: int = 0
    state: State = State.READY
    head: str = ""
    queue: str = ""
    gen: int = 0
    sends: int = 0
    attempt: int = 1
    crashes: int = 0
    owner: str = ""
    parked: str = ""
    until: float = 0.0
    outcome: str = ""
    content: str = ""
    nonce: str = ""
    exp: int = 0
    out: bytes = b""

    def encode(self) -> bytes:
        """A JSON array of the format and all members but ``out``, then the bytes of ``out``."""
        return _encode(replace(self, out=b"") if self.out else self) + b"\n" + self.out

    @classmethod
    def decode(cls, data: bytes) -> Cursor:
        """:raises BackendCorrupt: the entry is not a cursor of this format."""
        text, newline, out = data.partition(b"\n")
        try:
            cursor = _decode(text)
        except (MsgspecError, ValueError) as exc:
            raise BackendCorrupt(f"a workflow cursor in the state store cannot be read: {exc}") from exc
        if not newline or cursor.out:
            raise BackendCorrupt(f"a workflow cursor in the state store cannot be read: {text[:40]!r}")
        return replace(cursor, out=out) if out else cursor

    def next(self, **changes: Any) -> Cursor:
        """A changed copy."""
        return replace(self, **changes)


_encode, _decode = Encoder().encode, Decoder(Cursor).decode
