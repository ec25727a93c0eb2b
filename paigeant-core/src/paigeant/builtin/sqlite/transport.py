"""Queues in a SQLite file: the transport for one machine, without a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from ...abc import Clock, Consumer, Scope, SystemClock, Transport, check_consume, see_through
from ...model.capabilities import Capabilities
from ...model.finding import Finding
from ...model.message import Message, Publication, QueueStats
from ...model.store import Write
from .consumer import SqliteConsumer
from .database import CAPABILITIES, Database
from .ops import Declare, Lease, Purge, Renew, read_headers
from .schema import Synchronous

if TYPE_CHECKING:
    from .store import SqliteStore


class SqliteTransport(Transport):
    """Queues and a store in one file, shared by any number of processes of one machine.

    :param path: the file; made on connect, with its directory, if it is not there.
    :param namespace: separates users of one file from each other.
    :param synchronous: ``FULL`` survives loss of power; ``NORMAL`` the death of every process.
    :param clock: wall clock of leases, delays and expiry.
    """

    scope: ClassVar[Scope] = "host"

    def __init__(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        synchronous: Synchronous = "FULL",
        clock: Clock | None = None,
    ) -> None:
        self.namespace = namespace
        self._database = Database(Path(path), namespace, synchronous, clock or SystemClock())
        self.data_directory = self._database.path.parent
        self.location = str(self._database.path)
        self._store: SqliteStore | None = None

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._database.path

    @property
    def capabilities(self) -> Capabilities:
        """See ``Transport.capabilities``."""
        return CAPABILITIES

    async def connect(self) -> None:
        """See ``Transport.connect``."""
        await self._database.connect()

    async def disconnect(self) -> None:
        """See ``Transport.disconnect``; what consumers still hold is free at once."""
        await self._database.disconnect()

    def clone(self) -> Self:
        """See ``Transport.clone``."""
        database = self._database
        return type(self)(
            database.path, namespace=self.namespace, synchronous=database.synchronous, clock=database.clock
        )

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Transport.publish``; all publications are one act."""
        session = self._database.session()
        if publications or writes:
            await session.change(None, publications, writes)

    @contextlib.asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        """See ``Transport.consume``; leaving the context frees what was not settled."""
        session = self._database.session()
        names = check_consume(queues, lease, expires)
        numbers = await session.write(Declare(names, lease, expires))
        presence = session.presence(names)
        opening = asyncio.ensure_future(session.call(presence.open))
        try:
            await asyncio.shield(opening)
            consumer = SqliteConsumer(session, presence, numbers, lease)
            with session.consuming(consumer):
                try:
                    yield consumer
                finally:
                    await consumer.close()
        finally:
            try:
                await see_through(opening)  # or the file would be opened, and locked, after we were cancelled
            finally:  # cancelled again
                presence.close()

    async def renew(self, tokens: Collection[str]) -> set[str]:
        """See ``Transport.renew``."""
        session = self._database.session()
        leases = {lease: token for token in tokens if (lease := Lease.parse(token)) is not None}
        if not leases:
            return set(tokens)
        owned = await session.write(Renew(list(leases)))
        return set(tokens) - {leases[lease] for lease in owned}

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        """See ``Transport.queues``."""
        session = self._database.session()
        rows = await session.read(lambda reader: reader.stats())
        wanted = names or tuple(rows)
        consumers = await session.consumers_of(wanted)
        missing = QueueStats(0, 0, 0)
        return {name: replace(rows.get(name, missing), consumers=consumers[name]) for name in wanted}

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        """See ``Transport.peek``; shows ready messages."""
        rows = await self._database.session().read(lambda reader: reader.peek(queue, limit))
        return [Message(mid, body, read_headers(headers)) for mid, headers, body in rows]

    async def purge(self, queue: str) -> int:
        """See ``Transport.purge``."""
        count: int = await self._database.session().write(Purge(queue))
        return count

    def state_store(self) -> SqliteStore:
        """See ``Transport.state_store``."""
        from .store import SqliteStore

        if self._store is None:
            self._store = SqliteStore.of(self._database)
        return self._store

    async def diagnose(self) -> list[Finding]:
        """See ``Transport.diagnose``."""
        from .diagnosis import diagnose

        return await diagnose(self._database.session(), self._database.synchronous)
