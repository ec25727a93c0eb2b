"""One backend in one mode, and everything a test needs on it: dispatcher, worker, client."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal, TypeAlias

from paigeant import (
    Activity,
    ActivitySpec,
    DeadLetters,
    Outcome,
    RetryPolicy,
    Worker,
    WorkflowClient,
    WorkflowDispatcher,
    activity,
)
from paigeant.abc import StateStore, Transport
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.builtin.sqlite.store import SqliteStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.model.events import WorkflowEvent
from paigeant.runtime.inbox import Inbox

Kind: TypeAlias = Literal["inmemory", "sqlite"]
Mode: TypeAlias = Literal["shared", "separate", "none"]

KINDS: tuple[Kind, ...] = ("inmemory", "sqlite")
MODES: tuple[Mode, ...] = ("shared", "separate", "none")
STORED: tuple[Mode, ...] = ("shared", "separate")

QUICK = RetryPolicy(attempts=3, first_delay=0.01, max_delay=0.02)
NO_RETRY = RetryPolicy(attempts=1)
PATIENCE = 15.0
"""Upper bound of every wait: reached only by a test that fails."""


class Bed:
    """A transport and, by mode, its own store, another one, or none. Closes all it made.

    :param options: for the transport and the separate store, such as ``clock``.
    """

    def __init__(self, kind: Kind, mode: Mode, directory: Path, **options: Any) -> None:
        self.kind, self.mode, self.directory, self._options = kind, mode, directory, options
        self._name = secrets.token_hex(4)
        self._stack = AsyncExitStack()
        self.transport = self.make_transport()
        self.store: StateStore | None = None

    def make_transport(self) -> Transport:
        """Another, unconnected instance on the same data."""
        if self.kind == "inmemory":
            return InMemoryTransport(f"inmemory://{self._name}", **self._options)
        return SqliteTransport(self.directory / "queues.db", **self._options)

    def make_store(self) -> StateStore | None:
        """Another instance of the separate store; ``None`` in the other modes."""
        if self.mode != "separate":
            return None
        if self.kind == "inmemory":
            return InMemoryStore(f"inmemory://{self._name}-state", **self._options)
        return SqliteStore(self.directory / "state.db", **self._options)

    async def __aenter__(self) -> Bed:
        await self._stack.enter_async_context(self.transport)
        self.store = self.make_store()
        if self.store is not None:
            await self._stack.enter_async_context(self.store)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def state(self) -> StateStore:
        """The store that holds the cursors."""
        store = self.store or self.transport.state_store()
        assert store is not None
        return store

    def worker(self, *activities: Activity[..., Any], **options: Any) -> Worker:
        return Worker(self.transport, activities, **{"state_store": self.store, "grace": 5.0, **options})

    def dispatcher(self, **options: Any) -> WorkflowDispatcher:
        return WorkflowDispatcher(self.transport, **{"state_store": self.store, **options})

    def client(self, **options: Any) -> WorkflowClient:
        return WorkflowClient(self.transport, **{"state_store": self.store, **options})

    async def dispatch(self, slip: Sequence[ActivitySpec], **options: Any) -> str:
        async with self.dispatcher() as dispatcher:
            return await dispatcher.dispatch_workflow(slip, **options)

    async def outcome(self, workflow: str, timeout: float = PATIENCE) -> Outcome:
        async with self.client() as client:
            return await client.outcome(workflow, timeout=timeout)

    async def run(
        self, slip: Sequence[ActivitySpec], *activities: Activity[..., Any], worker: Any = None, **options: Any
    ) -> Outcome:
        """Dispatch, serve, and wait for the end. ``worker``: its options; the rest are the dispatch's."""
        async with self.worker(*activities, **(worker or {})):
            return await self.outcome(await self.dispatch(slip, **options))

    async def steps(self, workflow: str) -> list[tuple[str, str, str]]:
        """(activity, direction, status) of each committed hop."""
        async with self.client() as client:
            return [(hop.activity, hop.direction, hop.status) for hop in await client.history(workflow)]

    async def inbox(self) -> Inbox:
        """Where outcomes arrive without a store."""
        async with self.client() as client:
            return Inbox.of(await client._session.open())

    async def dead(self, queue: str) -> list[str]:
        """Error classes of the dead letters of a queue."""
        async with DeadLetters(self.transport) as letters:
            return [letter.error for letter in await letters.list(queue)]

    async def all_dead(self) -> list[str]:
        async with DeadLetters(self.transport) as letters:
            return [f"{letter.queue}: {letter.error}" for letter in await letters.list()]


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[WorkflowEvent] = []

    async def on_event(self, event: WorkflowEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Lingering:
    """An activity that runs until it is interrupted, and takes its time to end then."""

    def __init__(self) -> None:
        self.running, self.interrupted, self.release = asyncio.Event(), asyncio.Event(), asyncio.Event()

        @activity
        async def slow() -> None:
            self.running.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.interrupted.set()
                await self.release.wait()

        self.activity = slow


async def until(check: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str = "it") -> None:
    """Wait for a condition that no event tells of; fails after the patience of the tests."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = check()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.01)


async def quickest(measure: Callable[[], Awaitable[float]], limit: float) -> float:
    """The first of up to four measurements that is below ``limit``, else the last: a machine may be busy once."""
    took = await measure()
    for _ in range(3):
        if took < limit:
            break
        took = await measure()
    return took
