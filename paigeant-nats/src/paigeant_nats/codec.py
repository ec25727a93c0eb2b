"""A message on the wire: the body as it is, our headers as one, and what the server needs to know."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

from nats.aio.msg import Msg

from paigeant.model.message import Message, Publication

from .names import plain_id

MESSAGE_ID = "Nats-Msg-Id"
TTL = "Nats-TTL"
HEADERS = "Paigeant-Headers"
ID = "Paigeant-Id"
NOT_BEFORE = "Paigeant-Not-Before"
SCHEDULE = "Nats-Schedule"
SCHEDULE_TARGET = "Nats-Schedule-Target"
SCHEDULE_TTL = "Nats-Schedule-TTL"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
TOMBSTONE = "Paigeant-Settled"

CENTURY = 36_500 * 86_400.0
"""Seconds; the most that the server is asked to wait: it counts nanoseconds in 64 bits."""
MAX_DELAY = 3600.0
"""Seconds; of servers without schedules, where a delayed message holds one of ``max_ack_pending`` places."""
HEADROOM = 16 * 1024
"""Bytes of the server's ``max_payload`` that are kept for headers."""


class Receipt(NamedTuple):
    """What the subject of an acknowledgement tells of a delivery."""

    delivered: int
    sequence: int


def encode_headers(publication: Publication, token: str) -> dict[str, str]:
    """The headers of a message to be sent at once."""
    message = publication.message
    headers: dict[str, str] = {}
    if message.headers:
        headers[HEADERS] = _dump(tuple(message.headers.items()))
    if plain_id(token) != message.id:
        headers[ID] = json.dumps(message.id)
    return headers


@lru_cache(maxsize=256)
def _dump(headers: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(dict(headers), separators=(",", ":"))


def scheduled(headers: dict[str, str], at: float, target: str) -> dict[str, str]:
    """The headers of a message that the server itself publishes when its time has come."""
    ttl = headers.pop(TTL, None)
    when = datetime.fromtimestamp(math.ceil(at * 1e6) / 1e6, UTC).isoformat(timespec="microseconds")
    headers[SCHEDULE], headers[SCHEDULE_TARGET] = f"@at {when.replace('+00:00', 'Z')}", target
    if ttl is not None:
        headers[SCHEDULE_TTL] = f"{ttl}s"
    return headers


def whole_seconds(ttl: float) -> int:
    """The server counts whole seconds; a ttl is a lower bound."""
    return max(1, math.ceil(ttl))


def read_message(msg: Msg, token: str) -> Message:
    """What was received. Of a foreign message nothing is believed but its bytes."""
    headers: Mapping[str, str] = msg.headers or {}
    message_id = plain_id(token) or token
    if not message_id.isascii():  # not ours, and perhaps no text at all
        message_id = message_id.encode("utf-8", "backslashreplace").decode()
    if (told := headers.get(ID)) is not None:
        message_id = _text(told) or message_id
    return Message(message_id, msg.data, read_headers(headers.get(HEADERS)))


def read_headers(text: str | None) -> dict[str, str]:
    """A new dictionary each time: whoever receives it may change it."""
    return {} if text is None else dict(_parse(text))


@lru_cache(maxsize=256)
def _parse(text: str) -> dict[str, str]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    pairs = cast("dict[str, object]", found).items()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _text(told: str) -> str | None:
    try:
        found: Any = json.loads(told)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def not_before(headers: Mapping[str, str] | None) -> float:
    """Server time before which a message is not to be received; 0 is always."""
    told = (headers or {}).get(NOT_BEFORE)
    if told is None:
        return 0.0
    try:
        when = float(told)
    except ValueError:
        return 0.0
    return when if math.isfinite(when) else 0.0


def early(when: float, now: float) -> float:
    """Seconds to wait until ``when``, at most an hour: the server sends at once what it is to keep for ages."""
    return min(when - now, MAX_DELAY)


def is_tombstone(msg: Msg) -> bool:
    """What an atomic settle leaves in the place of the message."""
    return not msg.data and msg.headers is not None and TOMBSTONE in msg.headers


def read_receipt(reply: str) -> Receipt | None:
    """Parse ``$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>...``."""
    parts = reply.split(".")
    first = 4 if len(parts) == 9 else 6
    if len(parts) < 9 or parts[0] != "$JS" or parts[1] != "ACK":
        return None
    try:
        return Receipt(int(parts[first]), int(parts[first + 1]))
    except ValueError:
        return None
