"""What the transport tests work with: connected instances, and receiving without losing patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

from ...abc.store import StateStore
from ...abc.transport import Consumer, Delivery, Transport
from ...errors import ConfigurationError
from ...model.message import Message, Publication, QueueStats
from ..kit import Suite
from ..rules import check

T = TypeVar("T")
LONG = 60.0
"""A lease that does not end during a test."""


async def listed(transport: Transport) -> dict[str, QueueStats] | None:
    """All queues; ``None`` where the backend says that it cannot list them."""
    try:
        return await transport.queues()
    except ConfigurationError:
        return None


class Rig:
    """Instances of the transport under test on one backend; closed at the end of the test."""

    def __init__(self, suite: TransportCases, tmp_path: Path, stack: AsyncExitStack) -> None:
        self.suite, self.tmp_path, self._stack = suite, tmp_path, stack
        self.capabilities = suite.capabilities
        self.lease, self.patience, self.quiet = suite.lease, suite.patience, suite.quiet

    def make(self) -> Transport:
        """A new instance from the author's ``make``, not connected; disconnected at the end."""
        transport = self.suite.make(self.tmp_path)
        check(
            transport.namespace == self.suite.namespace,
            "T06",
            f"make() returned an instance with namespace {transport.namespace!r}",
            "build it with namespace=self.namespace: every test has one of its own",
        )
        self._stack.push_async_callback(transport.disconnect)
        return transport

    async def open(self) -> Transport:
        """A new connected instance from ``make``."""
        transport = self.make()
        await transport.connect()
        return transport

    async def clone(self, transport: Transport) -> Transport:
        """A second connected instance on the same backend."""
        clone = transport.clone()
        self._stack.push_async_callback(clone.disconnect)
        await clone.connect()
        return clone

    def store(self, transport: Transport) -> StateStore:
        """The transport's own store, which ``atomic_writes`` needs."""
        store = transport.state_store()
        check(store, "T50", "atomic_writes is declared and state_store() is None", "declare atomic_writes=False")
        assert store is not None
        return store

    @asynccontextmanager
    async def receiving(
        self, transport: Transport, *queues: str, lease: float = LONG
    ) -> AsyncGenerator[Receiver, None]:
        """A consumer, wrapped so that waiting for it has an end."""
        async with transport.consume(queues or ("work",), lease=lease) as consumer:
            receiver = Receiver(consumer, self.patience, self.quiet)
            try:
                yield receiver
            finally:
                await receiver.close()

    async def collect(
        self, transport: Transport, queue: str = "work", *, want: int, lease: float = LONG
    ) -> list[Message]:
        """Receive and settle ``want`` messages and whatever else comes soon after."""
        found: list[Message] = []
        async with self.receiving(transport, queue, lease=lease) as receiver:
            while len(found) < want and (some := await receiver.get()):
                found += await _settled(some)
            while some := await receiver.get(within=self.quiet):
                found += await _settled(some)
        return found

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> bool:
        """Whether ``holds`` becomes true before patience runs out."""
        try:
            async with asyncio.timeout(self.patience):
                while not await holds():  # noqa: ASYNC110 - backends have no event for everything
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False
        return True


class Receiver:
    """Keeps one ``receive`` call open, so that giving up waiting cancels nothing."""

    def __init__(self, consumer: Consumer, patience: float, quiet: float) -> None:
        self.consumer = consumer
        self.patience, self._quiet = patience, quiet
        self._task: asyncio.Task[list[Delivery]] | None = None

    def call(self, limit: int) -> asyncio.Task[list[Delivery]]:
        """The open call, or a new one."""
        self._task = self._task or asyncio.create_task(self.consumer.receive(limit))
        return self._task

    async def get(self, limit: int = 10, *, within: float | None = None) -> list[Delivery]:
        """What is received within ``within`` seconds (default: patience); nothing otherwise."""
        task = self.call(limit)
        await asyncio.wait([task], timeout=self.patience if within is None else within)
        if not task.done():
            return []
        self._task = None
        return task.result()

    async def one(self, rule: str) -> Delivery:
        """The next message; to miss it breaks ``rule``."""
        found = await self.get(1)
        check(found, rule, f"nothing was received within {self.patience:g} s", "deliver what was published")
        return found[0]

    async def silence(self, rule: str, why: str, way_out: str, *, lasting: float | None = None) -> None:
        """Nothing may come for a while."""
        found = await self.get(within=self._quiet if lasting is None else lasting)
        check(not found, rule, f"{why}: received {[d.message.id for d in found]}", way_out)

    async def close(self) -> None:
        """Cancel the open call, if there is one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=self.patience)
            if self._task.done() and not self._task.cancelled():
                self._task.exception()


class TransportCases(Suite):
    """Base of the groups of transport tests."""

    lease: ClassVar[float] = 1.0
    """The short lease, in seconds, of tests that wait for its end. At least what the backend can do."""

    def make(self, tmp_path: Path) -> Transport:
        """A new instance, not connected, in ``self.namespace``; all of one test on the same backend."""
        raise TypeError(f"{type(self).__name__} must define make(self, tmp_path) -> Transport")

    def prepare(self, tmp_path: Path, stack: AsyncExitStack) -> Rig:
        return Rig(self, tmp_path, stack)


async def either(*receivers: Receiver) -> list[list[Delivery]]:
    """Wait until one of them receives a message; what each has received by then."""
    calls = [receiver.call(1) for receiver in receivers]
    await asyncio.wait(calls, timeout=receivers[0].patience, return_when=asyncio.FIRST_COMPLETED)
    return [await receiver.get(1, within=0) for receiver in receivers]


async def cancel(task: asyncio.Task[T], patience: float) -> None:
    """Cancel ``task`` and wait for its end, whichever it is."""
    task.cancel()
    await asyncio.wait([task], timeout=patience)
    check(task.done(), "T04", f"a cancelled call did not end within {patience:g} s", "let CancelledError through")


def publication(number: int | str = 1, queue: str = "work", *, delay: float = 0.0) -> Publication:
    """A message with the id ``m-<number>`` for ``queue``."""
    return Publication(queue, Message(f"m-{number}", b"body"), delay=delay)


def ids(messages: Sequence[Message | Delivery]) -> list[str]:
    """Sorted ids."""
    return sorted(m.id if isinstance(m, Message) else m.message.id for m in messages)


def now() -> float:
    """Time of the running loop, so that a loop with virtual time measures its own."""
    return asyncio.get_running_loop().time()


async def _settled(deliveries: Sequence[Delivery]) -> list[Message]:
    for delivery in deliveries:
        await delivery.settle()
    return [delivery.message for delivery in deliveries]
