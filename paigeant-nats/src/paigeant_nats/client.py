"""The client of nats-py, hardened: what it cannot read must not end its reading.

It ends the reading of a connection for good at the first exception, says nothing, and goes on counting as
connected until two pings got no answer. A stored message that it cannot read comes again after that: one bad
message would keep every reader deaf for ever.
"""

# The client of nats-py is typed in part only.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

from nats.aio.client import NATS_HDR_LINE, Client
from nats.aio.transport import TcpTransport

_PING = b"PING\r\n"


class _Socket(TcpTransport):
    """nats-py's own does not tell asyncio that its streams go over TLS: that warned at the end of each."""

    def __bool__(self) -> bool:
        """The client puts its own in the place of one that says it is none."""
        return True

    async def connect_tls(self, *args: Any, **kwargs: Any) -> None:
        await super().connect_tls(*args, **kwargs)
        writer: Any = self._io_writer
        writer.transport.get_protocol()._over_ssl = True

    def writelines(self, payload: Any) -> None:
        """From Python 3.12 on asyncio fails with a ``TypeError`` once the connection is lost."""
        writer: Any = self._io_writer
        if not writer.is_closing():
            writer.writelines(payload)


class HardenedClient(Client):
    """A client that reads on, whatever comes. The methods it changes are those that the parser calls."""

    def __init__(self) -> None:
        super().__init__()
        self._transport = cast("Callable[[], Any]", _Socket)()
        self.ended = asyncio.Event()
        """Set when it is closed, for whatever reason."""
        self._said, self._said_at = (0, 0), 0.0
        self._pong: asyncio.Future[bool] | None = None
        self._asked_at = self._answered_at = 0.0

    @property
    def is_reading(self) -> bool:
        """Whether it is connected, and would notice what the server sends."""
        task: asyncio.Task[Any] | None = self._reading_task
        return self.is_connected and task is not None and not task.done()

    def answered(self, now: float, patience: float, late: float) -> float:
        """Until when the server's answers have arrived: on a slow network they come behind much else.

        A pong comes behind all that was sent before it. A server of which nothing is heard has nothing on its way.

        :param now: who wants to know asks again and again.
        :param patience: seconds of silence that are long enough.
        :param late: seconds by which it asks later than it meant to.
        """
        said = self.stats["in_msgs"], len(self._ps.buf)
        if said != self._said:
            self._said, self._said_at, self._pings_outstanding = said, now, 0
        elif late > patience / 2:  # the loop stood still: what came meanwhile, or was to go, is still here
            self._said_at = now
        if now - self._said_at > patience or not self.is_reading:
            return now
        if self._pong is None or self._pong.done():
            self._answered_at, self._asked_at = self._asked_at, now
            self._pong = asyncio.get_running_loop().create_future()
            self._ping(self._pong)
        return self._answered_at

    def _ping(self, pong: asyncio.Future[bool]) -> None:
        """Behind all that is still to be written."""
        self._pongs.append(pong)
        self._pending.append(_PING)
        self._pending_data_size += len(_PING)
        flusher = cast("asyncio.Queue[asyncio.Future[Any]]", self._flush_queue)
        with contextlib.suppress(asyncio.QueueFull):  # then it is written with the rest
            flusher.put_nowait(asyncio.get_running_loop().create_future())

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        """nats-py's own overtakes what is still to be written. Then the pong that ends a ``drain()`` says nothing: the
        server may still send to who stopped listening, and that message is nobody's until its lease ends.
        """
        self._ping(future or asyncio.get_running_loop().create_future())

    async def _process_headers(self, headers: Any) -> Any:
        """nats-py's own fails at what are none, and takes a library for e-mail where one is installed, as its extra
        ``fast-parse`` does: the newest gives a list for each value, and nothing could be read."""
        line, _, lines = bytes(headers or b"").partition(b"\r\n")
        found = self._parse_header_lines(lines)
        status, _, description = line[len(NATS_HDR_LINE) :].strip().decode("utf-8", "replace").partition(" ")
        if status.isdigit():
            found |= {"Status": status, "Description": description}
        return found or None

    def _build_message(self, sid: int, subject: Any, reply: Any, data: bytes, headers: Any) -> Any:
        """A subject that is no text: what is odd in it is escaped, in a way that can be taken back."""
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            message = super()._build_message(sid, b"", b"", data, headers)
            message.subject, message.reply = (str(part, "utf-8", "surrogateescape") for part in (subject, reply))
            return message

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Whatever becomes of the socket, nothing of the client is left."""
        try:
            with contextlib.suppress(OSError):  # of what was left to write; nobody awaits the tasks that call this
                await super()._close(status, do_cbs)
        finally:
            for subscription in self._subs.values():
                subscription._stop_processing()
            self._subs.clear()
            self.ended.set()

    async def _process_pong(self) -> None:
        """The answer to a ping whose sender was cancelled meanwhile."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()
