"""One connected period of an instance: its connections, and calls that share round trips."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from redis import exceptions as client

from paigeant.abc import Batcher
from paigeant.errors import (
    BackendClosed,
    BackendUnavailable,
    ConfigurationError,
    LeaseLost,
    PaigeantError,
    RevisionConflict,
)
from paigeant.model.message import Publication
from paigeant.model.store import ANY, Entry, Expected, Write

from .client import Argument, Reply
from .dial import Dialer, prefix_of
from .errors import code_in, elsewhere, explain, translate
from .facts import Facts
from .layout import Lease, Operation, publish_operation, read_entry
from .scripts import Script, load
from .settings import RedisSettings
from .watches import Watches
from .wire import Wire

_log = logging.getLogger("paigeant.redis")
_CLOCK: Final = 10.0
"""Seconds for which the difference to the server's clock is believed."""
_BULK: Final = 8 * 1024 * 1024
"""Bytes of arguments after which a batch is cut: Redis serves nobody else while it runs a script."""


class Server:
    """Everything that ``connect`` makes and ``disconnect`` ends."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.dialer = Dialer(settings)
        self.prefix = prefix_of(settings.namespace)
        self.facts = Facts()
        self._loop = asyncio.get_running_loop()
        self.wire = Wire(self.dialer, settings.timeout)
        self.scripts = load()
        self.watches = Watches(self)
        self._changes: Batcher[Operation, Reply] = Batcher(self._commit)
        self._reads: Batcher[str, bytes | None] = Batcher(self._read)
        self._clock = 0.0, -_CLOCK
        self._closed = False

    @property
    def where(self) -> str:
        """The server, as host and port."""
        return self.wire.where

    async def open(self) -> None:
        """Connect, and see whether the server will do."""
        await self.wire.open()
        self.facts = await Facts.gather(self.wire)
        self.facts.check(self.where)
        self.scripts = load(sharded=self.sharded)
        try:
            await self.run(self.scripts.queues, "leave", "", changes=False)
        except BackendUnavailable as exc:
            if self.settings.mode != "cluster" and isinstance(exc.__cause__, client.MovedError):
                raise explain("CROSSSLOT", str(exc.__cause__), self.where) from exc  # nobody looks for another node
            _log.warning("%s", exc)  # it came and went, or is short of memory: no reason not to start

    @property
    def sharded(self) -> bool:
        """Whether changes are told in one shard instead of to the whole cluster."""
        return self.settings.mode == "cluster" and self.facts.version >= (7, 0)

    @property
    def ended(self) -> bool:
        """Closed, or its event loop is: with that all has ended, and nothing can be awaited."""
        return self._closed or self._loop.is_closed()

    async def close(self) -> None:
        """Finish what was submitted, and hang up."""
        if self.ended:
            return
        self._closed = True
        try:
            await self.watches.close()
            await self._changes.close()
            await self._reads.close()
        finally:  # cancelled, too: nobody could close the connection later
            await self.wire.close()

    def check(self) -> None:
        """Refuse another event loop: it would share a connection unawares.

        :raises ConfigurationError: there.
        :raises BackendClosed: closed meanwhile.
        """
        if self._closed:
            raise BackendClosed(f"the connection to Redis at {self.where} was closed")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "this Redis instance belongs to another event loop: use and disconnect it there, or connect a clone() "
                "in this one"
            )

    async def run(self, script: Script, *arguments: Argument, changes: bool = True) -> Reply:
        """Run a script."""
        return await script.run(self.wire, self.prefix, *arguments, changes=changes)

    async def call(self, *command: Argument, changes: bool = False) -> Reply:
        """Send a plain command."""
        try:
            return await self.wire.call(*command, changes=changes)
        except client.RedisError as exc:
            raise translate(exc, self.where) from exc

    async def change(
        self, publications: Sequence[Publication], writes: Sequence[Write], lease: Lease | None = None, size: int = 0
    ) -> list[int]:
        """Publish, write and settle as one act; give the revisions of the writes.

        :param size: of the body that is settled: what the server keeps fits it, although the limit here be lower.
        """
        operation = publish_operation(publications, writes, max(self.settings.max_message, size), lease)
        answer = await self.perform(operation, writes[0].expected if len(writes) == 1 else None, writes)
        return [int(revision) for revision in answer]

    async def perform(
        self, operation: Operation, expected: Expected | None = None, writes: Sequence[Write] = ()
    ) -> list[bytes]:
        """Perform one operation with others of the moment.

        :raises LeaseLost, RevisionConflict: nothing was changed.
        """
        answer: Reply = await self._changes.submit(operation)
        if answer == 0:
            raise LeaseLost(
                f"delivery {operation[2]!r} of queue {operation[1]!r} was settled or released, or its lease ended and "
                "another has it: nothing was changed"
            )
        if not answer or answer[0] not in (b"conflict", b"error"):
            return list(answer)
        if answer[0] == b"error":
            raise self._failure(answer[1].decode("utf-8", "replace"))
        raise _conflict(answer[1].decode(), answer[2], expected, writes)

    async def get(self, key: str) -> Entry | None:
        """Read an entry with others of the moment."""
        data = await self._reads.submit(key)
        return None if data is None else read_entry(key, data, self.where)

    async def now(self) -> float:
        """The time of the server in seconds, from a difference to our own clock that is seconds old."""
        offset, taken = self._clock
        if time.monotonic() - taken >= _CLOCK:
            before = time.monotonic()
            seconds, micros = await self.call("TIME")
            after = time.monotonic()
            offset = int(seconds) + int(micros) / 1e6 - (before + after) / 2
            self._clock = offset, after
        return time.monotonic() + offset

    def _failure(self, text: str) -> PaigeantError:
        code = code_in(text)
        if elsewhere(code):
            self.wire.leave()
        return explain(code, text, self.where)

    async def _commit(self, operations: Sequence[Operation]) -> list[Reply]:
        answers: list[Reply] = []
        for bulk in _cut(operations):
            try:
                answers += await self.run(self.scripts.commit, *[part for operation in bulk for part in operation])
            except Exception as exc:
                answers += [exc] * len(bulk)
        return answers

    async def _read(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        entries: list[bytes | None] = await self.call("MGET", *[f"{self.prefix}:e:{key}" for key in keys])
        return entries


def _cut(operations: Sequence[Operation]) -> list[Sequence[Operation]]:
    """Batches of a bearable size, in order."""
    sizes = [sum(len(part) for part in operation if isinstance(part, bytes)) for operation in operations]
    if sum(sizes) <= _BULK:
        return [operations]
    bulks: list[Sequence[Operation]] = []
    start = size = 0
    for at, more in enumerate(sizes):
        if size and size + more > _BULK:
            bulks.append(operations[start:at])
            start, size = at, 0
        size += more
    return [*bulks, operations[start:]]


def _conflict(key: str, found: bytes, expected: Expected | None, writes: Sequence[Write]) -> RevisionConflict:
    if expected is None:
        expected = next((write.expected for write in writes if write.key == key), ANY)
    return RevisionConflict(
        key, expected="an entry" if expected is ANY else expected, found=int(found) if found else None
    )
