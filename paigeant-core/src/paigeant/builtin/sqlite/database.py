"""The file that a transport and its store share, and its one session."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from ...abc.clock import Clock
from ...errors import BackendClosed
from ...model.capabilities import Capabilities
from .ops import MAX_MESSAGE
from .schema import Synchronous
from .session import Session

CAPABILITIES: Final = Capabilities(
    durable=True,
    atomic_settle=True,
    atomic_writes=True,
    renewable=True,
    counts_deliveries=True,
    max_delay=None,
    max_message=MAX_MESSAGE,
    persistent_queues=True,
)


class Database:
    """Settings of the file, and the session while it is connected."""

    def __init__(self, path: Path, namespace: str, synchronous: Synchronous, clock: Clock) -> None:
        self.path = Path(os.path.realpath(path))  # one file, one doorbell, by whichever link it is reached
        self.namespace, self.clock = namespace, clock
        self.synchronous: Synchronous = synchronous
        self._session: Session | None = None
        self._lock = asyncio.Lock()

    async def connect(self) -> None:
        """Open a session unless there is one."""
        async with self._lock:
            if self._session is not None:
                self._session.check()
                return
            session = Session(self.path, self.namespace, self.synchronous, self.clock)
            try:
                await session.open()
            except BaseException:
                await session.abandon()
                raise
            self._session = session

    async def disconnect(self) -> None:
        """End the session if there is one."""
        async with self._lock:
            if (session := self._session) is None:
                return
            session.check()
            self._session = None
            await session.close()

    def session(self) -> Session:
        """The session.

        :raises BackendClosed: not connected.
        """
        if self._session is None:
            raise BackendClosed(f"the SQLite instance on {str(self.path)!r} is not connected; call connect() first")
        self._session.check()
        return self._session
