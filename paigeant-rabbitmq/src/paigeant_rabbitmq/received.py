"""From the frames of a delivery to a message. Anybody may write into a queue: nothing here fails."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from paigeant.model.message import Message

from . import frames
from .notes import Note

_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count", "x-opt-")


class Received(NamedTuple):
    """``deliveries`` counts this one; ``None`` where the broker does not."""

    message: Message
    due: int
    deliveries: int | None


def read(header: bytes, body: bytes, *, redelivered: bool, counted: bool) -> Received:
    """What was received.

    :param counted: it comes from a quorum queue, which counts.
    """
    properties = frames.read_properties(header)
    note = Note.parse(properties.type)
    headers = properties.headers
    deliveries = note.received + 1 + _before(headers, redelivered=redelivered) if counted else None
    return Received(message_of(properties.message_id, headers, body), note.due, deliveries)


def message_of(message_id: str | None, headers: Mapping[str, object], body: bytes) -> Message:
    """A message without what the broker has added, and without headers that are no text."""
    plain = {name: text for name, text in headers.items() if isinstance(text, str) and not name.startswith(_BROKERS)}
    return Message(message_id or _nameless(body), body, plain)


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
