"""The state store in a SQLite file, alone or with the queues of a transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from ...abc.clock import Clock, SystemClock
from ...abc.store import StateStore
from ...model.capabilities import Capabilities
from ...model.finding import Finding
from ...model.store import ANY, Entry, Expected, Keep, Write, check_key
from .database import CAPABILITIES, Database
from .ops import Delete
from .schema import Synchronous

if TYPE_CHECKING:
    from ...abc.transport import Scope


class SqliteStore(StateStore):
    """Entries in a SQLite file. Parameters are those of ``SqliteTransport``."""

    scope: ClassVar[Scope] = "host"

    def __init__(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        synchronous: Synchronous = "FULL",
        clock: Clock | None = None,
    ) -> None:
        self._attach(Database(Path(path), namespace, synchronous, clock or SystemClock()), owner=True)

    @classmethod
    def of(cls, database: Database) -> Self:
        """The store of a transport: it follows the transport's connection."""
        store = cls.__new__(cls)
        store._attach(database, owner=False)
        return store

    def _attach(self, database: Database, *, owner: bool) -> None:
        self.namespace = database.namespace
        self._database, self._owner = database, owner

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._database.path

    @property
    def capabilities(self) -> Capabilities:
        """See ``StateStore.capabilities``."""
        return CAPABILITIES

    async def connect(self) -> None:
        """See ``StateStore.connect``."""
        if self._owner:
            await self._database.connect()
        else:
            self._database.session()

    async def disconnect(self) -> None:
        """See ``StateStore.disconnect``."""
        if self._owner:
            await self._database.disconnect()

    def clone(self) -> SqliteStore:
        """See ``StateStore.clone``."""
        database = self._database
        return SqliteStore(
            database.path, namespace=self.namespace, synchronous=database.synchronous, clock=database.clock
        )

    async def now(self) -> float:
        """See ``StateStore.now``."""
        return self._database.session().clock.time()

    async def get(self, key: str) -> Entry | None:
        """See ``StateStore.get``."""
        return await self._database.session().get(check_key(key))

    async def put(
        self,
        key: str,
        value: bytes | Literal[Keep.KEEP],
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        """See ``StateStore.put``."""
        (revision,) = await self._database.session().change(None, (), (Write(key, value, expected, due, ttl),))
        return revision

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        """See ``StateStore.delete``."""
        await self._database.session().change(None, (), (Delete(check_key(key), expected),))

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        """See ``StateStore.scan``."""
        return await self._database.session().read(lambda reader: reader.scan(prefix, after, limit))

    async def due(self, before: float, limit: int = 100) -> list[str]:
        """See ``StateStore.due``."""
        return await self._database.session().read(lambda reader: reader.due(before, limit))

    async def watch(self, key: str) -> AsyncGenerator[Entry | None, None]:
        """See ``StateStore.watch``."""
        with self._database.session().watching(check_key(key)) as changed:
            seen = entry = await self.get(key)
            yield entry
            while True:
                await changed.wait()
                changed.clear()
                if (entry := await self.get(key)) != seen:
                    seen = entry
                    yield entry

    async def diagnose(self) -> list[Finding]:
        """See ``Transport.diagnose``."""
        from .diagnosis import diagnose

        return await diagnose(self._database.session(), self._database.synchronous, alone=self._owner)
