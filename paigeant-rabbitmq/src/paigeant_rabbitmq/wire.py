"""One TCP connection: message frames are read and written here, all others are the client library's.

aio-pika is given a stream as usual, through its ``transport_factory``. Message frames of channels that have a sink are
taken out of what it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

from . import frames
from .frames import BLOCKED, GOODBYE, HEARTBEAT, METHOD, UNBLOCKED
from .pulse import PULSE
from .sinks import Sink, Sinks

_KINDS = frozenset({1, 2, 3, 8})
_ALIVE = 1.0
"""Seconds after which the library is shown a heartbeat in place of the frames that it does not see."""


class Wire(asyncio.StreamReaderProtocol):
    """The protocol of the connection.

    :ivar on_blocked: told the reason when the broker takes no more publications, and ``None`` when it does again.
    :ivar on_lost: told when the connection is gone.
    :ivar goodbye: code and reason with which the broker closed it, if it did.
    """

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self.sinks = Sinks()
        self.on_blocked: Callable[[str | None], None] = lambda reason: None
        self.on_lost: Callable[[Exception | None], None] = lambda exc: None
        self.written = time.monotonic()
        self.goodbye: tuple[int, str] | None = None
        self.lost = False
        self._reader, self._loop_ = reader, loop
        self._buffer = bytearray()
        self._foreign, self._shown = False, 0.0
        self._pending: list[bytes] = []
        self._deferred: list[Callable[[], bytes]] = []
        self._lock = threading.Lock()
        self._owed, self._full = b"", False
        self._transport_: asyncio.Transport | None = None
        self._socket: socket.socket | None = None

    def adopt(self, channel: int, sink: Sink) -> None:
        """Give the frames of an open channel to a sink.

        :raises ConnectionError: the connection was lost meanwhile.
        """
        if self.lost:
            raise ConnectionError("the connection was lost")
        self.sinks.adopt(channel, sink)

    # -- writing

    def send(self, *parts: bytes) -> None:
        """Write whole frames; what is sent in one turn of the loop leaves in one piece."""
        self._flush_soon()
        self._pending += parts

    def defer(self, parts: Callable[[], bytes]) -> None:
        """As ``send``, of what is put together when it leaves: after all that is sent in the same turn."""
        self._flush_soon()
        self._deferred.append(parts)

    def _flush_soon(self) -> None:
        if not self._pending and not self._deferred:
            self._loop_.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is pending now."""
        pending, self._pending = self._pending, []
        deferred, self._deferred = self._deferred, []
        if pending or deferred:
            self.write_now(b"".join([*pending, *(parts() for parts in deferred)]))

    def write_now(self, data: bytes) -> None:
        """The only way to the socket but for the pulse's, so that the two never mix."""
        transport = self._transport_
        if transport is None or transport.is_closing():
            return
        with self._lock:
            self.written = time.monotonic()
            owed, self._owed = self._owed, b""
            transport.write(owed + data)

    def start_pulse(self, interval: float) -> None:
        """Let heartbeats be sent while the loop is busy; not under TLS, whose state belongs to the loop."""
        transport = self._transport_
        if transport is None or interval <= 0 or transport.get_extra_info("ssl_object") is not None:
            return
        found = transport.get_extra_info("socket")
        if found is not None:
            transport.set_write_buffer_limits(0)  # to be told whether anything waits to be written
            self._socket = socket.socket(fileno=os.dup(found.fileno()))
            PULSE.add(self, interval)

    def beat(self) -> None:
        """Send a heartbeat, from any thread: between two frames, or not at all."""
        with self._lock:
            sock = self._socket
            if sock is None or self._full:
                return
            beat = self._owed or HEARTBEAT
            with contextlib.suppress(OSError):  # full: then bytes are under way; broken: the loop will see it
                self._owed = beat[sock.send(beat, socket.MSG_DONTWAIT) :]  # a part of it, if there was room for no more
            self.written = time.monotonic()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport_ is not None:
            self._transport_.abort()

    # -- the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._transport_ = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        PULSE.remove(self)
        with self._lock:
            self._transport_ = None
            sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
        self.sinks.close()
        self.on_lost(exc)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._full = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._full = False

    def eof_received(self) -> bool:
        super().eof_received()
        return False  # the broker is gone: do not keep half a connection

    def data_received(self, data: bytes) -> None:
        if self._foreign:
            return self._reader.feed_data(data)
        self._buffer += data
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 8:
            kind, channel, size = frames.frame_head.unpack_from(buffer, at)
            if kind not in _KINDS:
                self._foreign = True  # not AMQP: the library will say so
                self._reader.feed_data(bytes(buffer[at:]))
                return buffer.clear()
            end = at + size + 8
            if len(buffer) < end:
                break
            if channel not in self.sinks or not self.sinks.take(kind, channel, bytes(buffer[at + 7 : end - 1])):
                self._pass(kind, channel, bytes(buffer[at:end]))
            at = end
        del buffer[:at]
        self._show()
        return None

    def _pass(self, kind: int, channel: int, frame: bytes) -> None:
        if kind == METHOD and channel == 0:
            self._control(frame[7:-1])
        self._shown = time.monotonic()
        self._reader.feed_data(frame)

    def _control(self, payload: bytes) -> None:
        """What concerns the whole connection: the library is shown it, too, but does not tell all of it."""
        method = int.from_bytes(payload[:4], "big")
        if method in (BLOCKED, UNBLOCKED):
            self.on_blocked(frames.read_reason(payload) if method == BLOCKED else None)
        elif method == GOODBYE:
            self.goodbye = frames.read_goodbye(payload)

    def _show(self) -> None:
        now = time.monotonic()
        if self.sinks and now - self._shown > _ALIVE:
            self._shown = now
            self._reader.feed_data(HEARTBEAT)


class WireReader(asyncio.StreamReader):
    """What the library reads, which must read into the end to be told of it as an error.

    Where it asks first, it stops as if nothing had happened: a handshake fails with ``StopAsyncIteration``, and the
    calls under way with a bare ``Exception``.
    """

    def at_eof(self) -> bool:
        return False


class WireWriter(asyncio.StreamWriter):
    """What the library writes, in order with what is written here."""

    def __init__(self, wire: Wire, transport: asyncio.Transport, reader: asyncio.StreamReader) -> None:
        super().__init__(transport, wire, reader, asyncio.get_running_loop())
        self._wire = wire

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._wire.flush()
        self._wire.write_now(bytes(data))
