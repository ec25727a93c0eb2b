"""What a transport carries: messages, publications, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from msgspec import Struct

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Message(Struct, frozen=True, gc=False):
    """The transport-level unit. A transport knows nothing else.

    :param id: unique per deliberate send; a repeat of an uncertain publish reuses it.
    :param body: opaque bytes.
    :param headers: small text metadata, unsigned and untrusted.
    """

    id: str
    body: bytes
    headers: Mapping[str, str] = _NONE


class Publication(Struct, frozen=True, gc=False):
    """A message on its way to a queue.

    :param delay: seconds before it becomes ready; at most ``Capabilities.max_delay``.
    :param ttl: seconds after which the backend may drop it unread; a lower bound, ``None`` is never.
    """

    queue: str
    message: Message
    delay: float = 0.0
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts of one queue; ``None`` where the backend cannot tell."""

    ready: int
    in_flight: int | None = None
    delayed: int | None = None
    consumers: int | None = None
