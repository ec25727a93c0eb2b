"""The cursor: the one store entry that says where a branch stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from ..errors import BackendCorrupt

FORMAT: Final = 1


class State(StrEnum):
    """``READY``: claimable now; ``RUNNING``: owned; ``WAITING``: for a time or a person; ``ENDED``."""

    READY = "R"
    RUNNING = "X"
    WAITING = "W"
    ENDED = "E"


class Cursor(NamedTuple):
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
        """Compact JSON of all that differs from the defaults, then the bytes of ``out``."""
        head: dict[str, Any] = {"v": FORMAT}
        for short, value, default in zip(_SHORT, self, _DEFAULTS, strict=False):
            if value != default:
                head[short] = value
        return to_json(head) + b"\n" + self.out

    @classmethod
    def decode(cls, data: bytes) -> Cursor:
        """:raises BackendCorrupt: the entry is not a cursor of this format."""
        text, newline, out = data.partition(b"\n")
        try:
            head: dict[str, Any] = from_json(text)
            if not newline or head.pop("v") != FORMAT:
                raise ValueError(f"format {text[:40]!r}")
            values: dict[str, Any] = {}
            for short, value in head.items():
                name, default = _MEMBERS[short]
                values[name] = _typed(value, default)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise BackendCorrupt(f"a workflow cursor in the state store cannot be read: {exc}") from exc
        return cls(**values, out=out)

    def next(self, **changes: Any) -> Cursor:
        """A changed copy."""
        return self._replace(**changes)


_ABBREVIATED: Final = {"state": "s", "seq": "q", "outcome": "o", "content": "c", "nonce": "n", "head": "h"}
_NAMES: Final = Cursor._fields[:-1]
_SHORT: Final = tuple(_ABBREVIATED.get(name, name) for name in _NAMES)
_DEFAULTS: Final = tuple(Cursor()[:-1])
_MEMBERS: Final = {short: (name, default) for short, name, default in zip(_SHORT, _NAMES, _DEFAULTS, strict=True)}


def _typed(value: object, default: object) -> object:
    if isinstance(default, State):
        return State(str(value))
    if isinstance(default, float) and isinstance(value, int):
        value = float(value)
    if type(value) is not type(default):
        raise TypeError(f"{value!r} where a {type(default).__name__} belongs")
    return value
