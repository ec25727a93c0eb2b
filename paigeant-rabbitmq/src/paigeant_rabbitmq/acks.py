"""The acknowledgements of one channel: several of a turn of the loop in one frame, where that says the same.

It is not only cheaper. A broker has few of them under way to a quorum queue; the rest waits in its channel, and is
forgotten with it.
"""

from __future__ import annotations

from time import monotonic

from . import frames
from .wire import Wire

_UNDER_WAY = 32
"""Acknowledgements that a broker has under way to a quorum queue."""
_SOON = 1.0
"""Seconds within which it has taken in any others."""


class Acks:
    """Knows which deliveries of the channel are not settled."""

    __slots__ = ("_channel", "_held", "_last", "_lately", "_settled", "_wire")

    def __init__(self, wire: Wire, channel: int) -> None:
        self._wire, self._channel = wire, channel
        self._held: dict[int, None] = {}  # ascending, as tags arrive
        self._settled: list[int] = []
        self._lately, self._last = 0, 0.0

    @property
    def crowded(self) -> bool:
        """Whether some of them may still wait in the broker's channel."""
        return self._lately > _UNDER_WAY and monotonic() - self._last < _SOON

    def arrived(self, tag: int) -> None:
        self._held[tag] = None

    def acknowledge(self, tag: int) -> None:
        if not self._settled:
            self._wire.defer(self._frames)
        self._held.pop(tag, None)
        self._settled.append(tag)

    def reject(self, tag: int) -> None:
        """Give it back. This leaves before any acknowledgement of the same turn, which may include its tag."""
        self._held.pop(tag, None)
        self._wire.send(frames.reject_frame(self._channel, tag))

    def _frames(self) -> bytes:
        settled, self._settled = self._settled, []
        oldest = next(iter(self._held), max(settled) + 1)
        below = max((tag for tag in settled if tag < oldest), default=0)
        parts = [frames.ack_frame(self._channel, tag) for tag in settled if tag > oldest]
        if below:  # all up to this one are settled
            parts.append(frames.ack_frame(self._channel, below, multiple=True))
        self._count(len(settled))
        return b"".join(parts)

    def _count(self, settled: int) -> None:
        now = monotonic()
        self._lately = settled + (self._lately if now - self._last < _SOON else 0)
        self._last = now
