"""The connection that a transport and its store share."""

from __future__ import annotations

import asyncio

from paigeant.errors import BackendClosed
from paigeant.model.capabilities import Capabilities

from .server import Server
from .settings import RedisSettings


class Link:
    """Settings, and the server while it is connected."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.target = settings.target()
        self._server: Server | None = None
        self._lock = asyncio.Lock()

    @property
    def capabilities(self) -> Capabilities:
        """``durable`` where the server logs every write to disk, as far as it says."""
        durable = self._server is None or self._server.facts.appends is not False
        return Capabilities(
            durable=durable,
            atomic_settle=True,
            atomic_writes=True,
            renewable=True,
            counts_deliveries=True,
            max_delay=None,
            max_message=self.settings.max_message,
            persistent_queues=True,
        )

    async def connect(self) -> None:
        """Open a server unless there is one."""
        async with self._lock:
            if self._server is not None:
                self._server.check()
                return
            server = Server(self.settings)
            try:
                await server.open()
            except BaseException:
                await server.close()
                raise
            self._server = server

    def check_leaving(self) -> None:
        """Refuse to close what lives in another event loop: that would wait for ever.

        :raises ConfigurationError: it was connected in another event loop, which is not closed.
        """
        if self._server is not None and not self._server.ended:
            self._server.check()

    async def disconnect(self) -> None:
        """Close it if there is one."""
        self.check_leaving()
        async with self._lock:
            server, self._server = self._server, None
            if server is not None:
                await server.close()

    def server(self) -> Server:
        """The server.

        :raises BackendClosed: not connected.
        """
        if self._server is None:
            raise BackendClosed(f"the instance on {self.target.location} is not connected; call connect() first")
        self._server.check()
        return self._server
