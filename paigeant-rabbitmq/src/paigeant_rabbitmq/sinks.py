"""From frames to messages: who takes those of a channel, and what has come of a message so far."""

from __future__ import annotations

from typing import Protocol

from . import frames
from .frames import ACK, BODY, CLOSE, DELIVER, EMPTY, GOT, HEADER, METHOD, NACK, RETURN

_OURS = frozenset({DELIVER, RETURN, GOT, EMPTY, ACK, NACK})


class Sink(Protocol):
    """Takes the message frames of one channel. Called from within the loop; must not raise."""

    def on_confirm(self, tag: int, multiple: bool, stored: bool) -> None:
        """``basic.ack`` or ``basic.nack`` of publications up to or at ``tag``."""
        ...

    def on_message(self, method: bytes, header: bytes, body: bytes, returned: bool) -> None:
        """A whole message: delivered, got, or returned as unroutable; all empty if there is none to get."""
        ...

    def on_close(self) -> None:
        """The channel is closed by the broker, or with the connection: not one frame more may be sent on it."""
        ...


class _Content:
    """A message of which frames are still to come."""

    __slots__ = ("header", "left", "method", "parts", "returned")

    def __init__(self, method: bytes, returned: bool) -> None:
        self.method, self.returned = method, returned
        self.header, self.left, self.parts = b"", 0, list[bytes]()


class Sinks:
    """The sinks of a connection."""

    def __init__(self) -> None:
        self._sinks, self._contents = dict[int, Sink](), dict[int, _Content]()

    def __contains__(self, channel: int) -> bool:
        return channel in self._sinks

    def __bool__(self) -> bool:
        return bool(self._sinks)

    def adopt(self, channel: int, sink: Sink) -> None:
        """Give the frames of an open channel to a sink."""
        self._contents.pop(channel, None)
        self._sinks[channel] = sink

    def abandon(self, channel: int, sink: Sink) -> None:
        """The channel is closed; its number may belong to another one by now."""
        if self._sinks.get(channel) is sink:
            del self._sinks[channel]
            self._contents.pop(channel, None)

    def close(self) -> None:
        """All channels are gone, with the connection."""
        sinks, self._sinks, self._contents = self._sinks, {}, {}
        for sink in sinks.values():
            sink.on_close()

    def take(self, kind: int, channel: int, payload: bytes) -> bool:
        """Hand a frame to the sink of its channel, which must have one; whether it is one for sinks."""
        if kind == METHOD:
            return self._method(channel, payload)
        content = self._contents.get(channel)
        if content is None:
            return False
        if kind == HEADER:
            content.header, content.left = payload, frames.body_size(payload)
        elif kind == BODY:
            content.left -= len(payload)
            content.parts.append(payload)
        if content.left <= 0:
            del self._contents[channel]
            parts = content.parts
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._sinks[channel].on_message(content.method, content.header, body, content.returned)
        return True

    def _method(self, channel: int, payload: bytes) -> bool:
        method = int.from_bytes(payload[:4], "big")
        if method not in _OURS:
            if method == CLOSE:
                self._contents.pop(channel, None)
                self._sinks.pop(channel).on_close()
            return False
        sink = self._sinks[channel]
        if method in (ACK, NACK):
            tag, multiple = frames.read_confirm(payload)
            sink.on_confirm(tag, multiple, method == ACK)
        elif method == EMPTY:
            sink.on_message(b"", b"", b"", returned=False)
        else:
            self._contents[channel] = _Content(payload, method == RETURN)
        return True
