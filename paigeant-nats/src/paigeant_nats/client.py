"""The client of nats-py, hardened: what it cannot read must not end its reading.

It ends the reading of a connection for good at the first exception, says nothing, and goes on counting as
connected until two pings got no answer. A stored message that it cannot read comes again after that: one bad
message would keep every reader deaf for ever.
"""

# The client of nats-py is typed in part only.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.transport import TcpTransport


class _TlsTransport(TcpTransport):
    """Sockets of nats-py, which does not tell asyncio that its streams go over TLS: that warned at the end of each."""

    def __bool__(self) -> bool:
        """The client puts its own in the place of one that says it is none."""
        return True

    async def connect_tls(self, *args: Any, **kwargs: Any) -> None:
        await super().connect_tls(*args, **kwargs)
        writer: Any = self._io_writer
        writer.transport.get_protocol()._over_ssl = True


class HardenedClient(Client):
    """A client that reads on, whatever comes. The methods it changes are those that the parser calls."""

    def __init__(self) -> None:
        super().__init__()
        self._transport = cast("Callable[[], Any]", _TlsTransport)()
        self.ended = asyncio.Event()
        """Set when it is closed, for whatever reason."""

    @property
    def is_reading(self) -> bool:
        """Whether it is connected, and would notice what the server sends."""
        task: asyncio.Task[Any] | None = self._reading_task
        return self.is_connected and task is not None and not task.done()

    async def _process_headers(self, headers: Any) -> Any:
        """Headers that are none: the message comes without."""
        try:
            return await super()._process_headers(headers)
        except Exception:
            return None

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
