"""What the writer is asked to do: plain records, one per call, many per transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import NamedTuple, TypeAlias

from ...errors import ConfigurationError, MessageTooLarge
from ...model.message import Publication
from ...model.store import KEEP, Expected, Write, check_key

MAX_MESSAGE = 64 * 1024 * 1024
"""Largest body or value in bytes; SQLite itself could take 1 GB, but a process should not."""

_encode = json.JSONEncoder(separators=(",", ":")).encode

Row: TypeAlias = tuple[str, float, float | None, str, str, bytes]
"""A message to insert: queue, delay, ttl, id, headers as JSON, body."""


class Lease(NamedTuple):
    """A claim of a message. ``deliveries`` rises with every claim, so no two are ever equal."""

    id: int
    owner: int
    deliveries: int

    @property
    def token(self) -> str:
        return f"{self.id}.{self.owner:x}.{self.deliveries}"

    @classmethod
    def parse(cls, token: str) -> Lease | None:
        """The lease of a token, or ``None`` for a text that is none."""
        parts = token.split(".")
        try:
            lease = cls(int(parts[0]), int(parts[1], 16), int(parts[2]))
        except (ValueError, IndexError):
            return None
        return lease if lease.token == token and max(lease) < 2**63 else None


@dataclass(slots=True)
class Delete:
    """Removes an entry."""

    key: str
    expected: Expected


@dataclass(slots=True)
class Change:
    """Settle ``lease`` if there is one, insert messages, write entries: all or nothing. Gives the revisions."""

    lease: Lease | None
    messages: list[Row]
    writes: Sequence[Write | Delete]


@dataclass(slots=True, eq=False)
class Claim:
    """Lease up to ``limit`` ready messages of ``queues`` (ids as a JSON list, first come first). Gives ``Claimed``."""

    owner: int
    queues: str
    limit: int
    lease: float
    served: float
    """When its consumer was last given something: of those who claim at once, who waits longest is first."""
    abandoned: bool = False


ClaimedRow: TypeAlias = tuple[int, int, int, str, str, bytes]
"""A message taken: its number, queue number, deliveries, id, headers as JSON, body."""


@dataclass(slots=True)
class Claimed:
    """What a claim took; if nothing, when the next message becomes ready, if one waits for its time."""

    rows: list[ClaimedRow]
    next: float | None = None


@dataclass(slots=True)
class Renew:
    """Extend leases by the full lease of their queues. Gives those that were still owned."""

    leases: list[Lease]


@dataclass(slots=True)
class Release:
    """Give one message back, ready after ``delay`` seconds."""

    lease: Lease
    delay: float
    received: bool = True
    """Otherwise the claim reached nobody, and does not count as a delivery."""


@dataclass(slots=True)
class Disown:
    """Give back everything that ``owner`` holds."""

    owner: int


@dataclass(slots=True)
class Declare:
    """Create queues and store their lease. Gives their numbers."""

    queues: list[str]
    lease: float
    keep: float | None = None
    """Seconds after which they may go if nobody consumes from them; ``None``: never."""


@dataclass(slots=True)
class Purge:
    """Delete the ready messages of a queue. Gives their number."""

    queue: str


Op: TypeAlias = Change | Claim | Renew | Release | Disown | Declare | Purge
Lazy: TypeAlias = Claim | Renew | Release | Disown
"""What may be forgotten if the machine loses power: a lease is then merely shorter."""


@dataclass(slots=True)
class News:
    """What a commit changed for others: queues with new messages, and whether entries changed."""

    queues: set[int] = field(default_factory=set[int])
    entries: bool = False


def seconds(value: float, what: str) -> float:
    """``value`` as SQLite can keep it; negative is zero.

    :raises ConfigurationError: it is not a number.
    """
    if not value >= 0:  # or NaN, which SQLite would store as NULL
        if not value >= -inf:
            raise ConfigurationError(f"{what} is not a number")
        return 0.0
    return value


def row(publication: Publication) -> Row:
    """Check a publication and lay it out for the thread: a bad one must not fail its whole batch."""
    message = publication.message
    _check_bytes(message.body, "body of message", message.id)
    _check_text(message.id, "message id")
    _check_text(publication.queue, "queue")
    headers = _encode(dict(message.headers)) if message.headers else ""
    ttl = None if publication.ttl is None else seconds(publication.ttl, "ttl")
    return publication.queue, seconds(publication.delay, "delay"), ttl, message.id, headers, message.body


def read_headers(text: str) -> dict[str, str]:
    """The headers that ``row`` laid out."""
    return dict(_decode(text)) if text else {}


@lru_cache(256)  # most messages have the same few headers
def _decode(text: str) -> dict[str, str]:
    try:
        pairs: list[tuple[object, object]] = json.loads(text, object_pairs_hook=list)
        return {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, str)}
    except (ValueError, TypeError, RecursionError):
        return {}  # a damaged row: the reader of the message refuses it for its missing headers


def check_write(write: Write) -> Write:
    """Check a write on the side of its caller."""
    check_key(write.key)
    if write.value is not KEEP:
        _check_bytes(write.value, "value of", write.key)
    if write.due is not None:
        _check_number(write.due, "due of", write.key)
    if write.ttl is not None:
        _check_number(write.ttl, "ttl of", write.key)
    return write


def _check_number(value: float, what: str, name: str) -> None:
    if not value >= -inf:  # NaN, which SQLite would store as NULL
        raise ConfigurationError(f"{what} {name!r} is not a number")


def _check_bytes(data: object, what: str, name: str) -> None:
    if not isinstance(data, bytes):
        raise ConfigurationError(f"{what} {name!r} is {type(data).__name__}, not bytes")
    if len(data) > MAX_MESSAGE:
        raise MessageTooLarge(f"{what} {name!r} has {len(data)} bytes, more than the {MAX_MESSAGE} that SQLite keeps")


def _check_text(text: str, what: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ConfigurationError(f"{what} {text!r} cannot be encoded as UTF-8") from exc
