"""From the frames of a delivery to a message. Anybody may write into a queue: nothing here fails."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from paigeant.model.message import Message

from .frames import table
from .notes import Note
from .properties import read_properties

_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count", "x-opt-")
MOST_HEADERS = 65_536
"""Bytes of headers that may be published. Some more are delivered, and even more can be passed on: what is received can
always go to another queue, with what is added to it on the way."""
_MOST_DELIVERED = MOST_HEADERS + 8_192


class Received(NamedTuple):
    """``deliveries`` counts this one; ``None`` where the broker does not."""

    message: Message
    due: int
    deliveries: int | None


def read(header: bytes, body: bytes, *, redelivered: bool, counted: bool) -> Received:
    """What was received.

    :param counted: it comes from a quorum queue, which counts.
    """
    properties = read_properties(header)
    note = Note.parse(properties.type)
    headers = properties.headers
    deliveries = note.received + 1 + _before(headers, redelivered=redelivered) if counted else None
    plain = _plain(headers)
    if len(header) > _MOST_DELIVERED and len(table(plain)) > _MOST_DELIVERED:
        plain = {}
    return Received(Message(properties.message_id or _nameless(body), body, plain), note.due, deliveries)


def _plain(headers: Mapping[str, object]) -> dict[str, str]:
    """Without what the broker has added, and without headers that are no text."""
    return {name: text for name, text in headers.items() if isinstance(text, str) and not name.startswith(_BROKERS)}


def _before(headers: dict[str, object], *, redelivered: bool) -> int:
    """How often it was delivered before: RabbitMQ 4.3 counts every receipt, older ones those that ended badly."""
    for name in ("x-acquired-count", "x-delivery-count"):
        count = headers.get(name)
        if type(count) is int and count >= 0:
            return count
    return int(redelivered)


def _nameless(body: bytes) -> str:
    """The id of a message that somebody else sent without one: the same at each receipt."""
    return f"foreign-{hashlib.sha256(body).hexdigest()[:32]}"
