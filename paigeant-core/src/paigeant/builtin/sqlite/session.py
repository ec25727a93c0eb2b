"""One connected period of an instance: its threads, connections, doorbell, and who waits for what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ...abc.batching import Batcher
from ...abc.clock import Clock
from ...errors import BackendClosed, BackendError, ConfigurationError
from ...model.message import Publication
from ...model.store import Entry, Write
from .doorbell import Doorbell
from .lane import Lane
from .ops import Change, Delete, Disown, Lease, News, Op, check_write, row
from .presence import Presence, count_consumers, find_dead, forget, runtime_directory
from .reader import Query, Reader
from .schema import Synchronous, prepare_file
from .watches import Watches
from .writer import Writer

if TYPE_CHECKING:
    from .consumer import SqliteConsumer

T = TypeVar("T")

_log = logging.getLogger("paigeant.sqlite")
POLL: Final = 0.5
"""Seconds after which those who wait look by themselves, should no doorbell have rung."""
_PATROL = 0.5
"""Seconds between looks for consumers whose process died."""


class Session:
    """Everything that ``connect`` makes and ``disconnect`` ends."""

    def __init__(self, path: Path, namespace: str, synchronous: Synchronous, clock: Clock) -> None:
        self.path, self.clock = path, clock
        self.runtime = runtime_directory(path)
        self._namespace = namespace
        self._synchronous: Synchronous = synchronous
        self._loop, self._process = asyncio.get_running_loop(), os.getpid()
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._doorbell = Doorbell(self.runtime)
        self._write_lane, self._read_lane = Lane("paigeant-sqlite-write"), Lane("paigeant-sqlite-read")
        self._writes: Batcher[Op, Any] = Batcher(self._commit)
        self._reads: Batcher[Query, Any] = Batcher(self._serve)
        self._watches = Watches(self.changes)
        self._consumers: set[SqliteConsumer] = set()

    async def open(self) -> None:
        """Open the file and the doorbell."""
        await self._write_lane.run(self._open_writer)
        await self._read_lane.run(self._open_reader)
        if (bell := self._doorbell.fileno) is not None:
            self._loop.add_reader(bell, self._doorbell.listen, self._heard)

    def _open_writer(self) -> None:
        prepare_file(self.path)
        self._writer = Writer(self.path, self._namespace, self._synchronous, self.clock)
        self._doorbell.open()

    def _open_reader(self) -> None:
        if self._writer is not None:
            self._reader = Reader(self.path, self._writer.space, self.clock)

    async def close(self) -> None:
        """Finish what was submitted, give back what consumers hold, close everything."""
        try:
            for consumer in list(self._consumers):
                await consumer.close()
            self._watches.close()
            await self._writes.close()
            await self._reads.close()
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Close connections and sockets once their threads have done what they were given, even if cancelled."""
        if (bell := self._doorbell.fileno) is not None:
            self._loop.remove_reader(bell)
        ends = self._read_lane.stop(self._close_reader), self._write_lane.stop(self._close_writer)
        await asyncio.wait(ends)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _close_writer(self) -> None:
        self._doorbell.close()
        if self._writer is not None:
            self._writer.close()

    def check(self) -> None:
        """Refuse another event loop and a forked child: both would share a connection unawares.

        :raises ConfigurationError: there.
        """
        if os.getpid() != self._process:
            raise ConfigurationError("this SQLite instance was connected before a fork; connect a clone() in the child")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "this SQLite instance belongs to another event loop; connect a clone() in this one"
            )

    async def write(self, op: Op) -> Any:
        """Perform ``op`` in the next transaction; raise what fails it."""
        return await self._writes.submit(op)

    async def change(
        self, lease: Lease | None, publications: Sequence[Publication], writes: Sequence[Write | Delete]
    ) -> list[int]:
        """Settle, publish and write as one act; give the revisions of the writes."""
        for write in writes:
            if isinstance(write, Write):
                check_write(write)
        revisions: list[int] = await self._writes.submit(Change(lease, [row(p) for p in publications], writes))
        return revisions

    async def get(self, key: str) -> Entry | None:
        """Read one entry."""
        entry: Entry | None = await self._reads.submit(key)
        return entry

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run another query."""
        result: T = await self._reads.submit(query)
        return result

    async def changes(self, after: int) -> tuple[int, int, list[str]]:
        """What changed in the store since the number ``after``."""
        return await self.read(lambda reader: reader.changes(after))

    def watching(self, key: str) -> contextlib.AbstractContextManager[asyncio.Event]:
        """An event that is set whenever the entry may have changed."""
        return self._watches.watching(key)

    def presence(self, queues: Sequence[str]) -> Presence:
        """The lock file, to be opened, of a consumer of ``queues``."""
        return Presence(self.runtime, [f"{self._namespace}/{queue}" for queue in queues])

    async def consumers_of(self, queues: Iterable[str]) -> dict[str, int]:
        """How many consumers in all processes serve each of ``queues``."""
        counts = await self.call(lambda: count_consumers(self.runtime))
        return {queue: counts.get(f"{self._namespace}/{queue}", 0) for queue in queues}

    async def call(self, call: Callable[[], T]) -> T:
        """Run a short blocking call beside the event loop.

        :raises BackendError: the file system refused it.
        """
        try:
            return await self._read_lane.run(call)
        except OSError as exc:
            raise BackendError(f"{exc.filename!r}: {exc.strerror}") from exc

    @contextlib.contextmanager
    def consuming(self, consumer: SqliteConsumer) -> Generator[None]:
        """Wake ``consumer`` when there may be something for it, and look for dead consumers meanwhile."""
        self._consumers.add(consumer)
        patrol = asyncio.create_task(self._watch_for_dead())
        try:
            yield
        finally:
            patrol.cancel()
            self._consumers.discard(consumer)

    async def _commit(self, ops: Sequence[Op]) -> Sequence[Any]:
        writer = _opened(self._writer)

        def commit_and_ring() -> tuple[list[Any], News]:
            results, news = writer.commit(ops)
            self._doorbell.ring(news)
            return results, news

        results, news = await self._write_lane.run(commit_and_ring)
        self._heard(news)
        return results

    async def _serve(self, queries: Sequence[Query]) -> Sequence[Any]:
        reader = _opened(self._reader)
        return await self._read_lane.run(lambda: reader.serve(queries))

    def _heard(self, news: News | None) -> None:
        """Wake those whom ``news`` concern (``None``: everyone)."""
        if news is None or news.entries:
            self._watches.look()
        if news is None or news.queues:
            for consumer in self._consumers:
                consumer.wake(None if news is None else news.queues)

    async def _watch_for_dead(self) -> None:
        while True:
            await asyncio.sleep(_PATROL)
            try:
                await self._bury()
            except BackendClosed:
                return
            except BackendError as exc:
                _log.warning("cannot look for dead consumers of %s: %s", self.path, exc)

    async def _bury(self) -> None:
        """Free at once what dead consumers held; without this their leases would have to end first."""
        for owner in await self.call(lambda: find_dead(self.runtime)):
            freed = await self.write(Disown(owner))
            await self.call(partial(forget, self.runtime, owner))
            _log.info("consumer %012x died; %d deliveries are free again", owner, freed)


def _opened(side: T | None) -> T:
    if side is None:
        raise BackendClosed("the SQLite instance is not connected")
    return side
