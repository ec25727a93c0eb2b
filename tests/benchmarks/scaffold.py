"""What the comparisons of a transport with its bare client share: the same messages, worker and meter for all."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from paigeant.abc import Consumer, Delivery
from paigeant.model.message import Message

AT_ONCE, BODY = 100, bytes(1024)
HEADERS = {"content-type": "application/x-paigeant"}

T = TypeVar("T")
Settle: TypeAlias = Callable[[Delivery], Coroutine[Any, Any, None]]


def message(number: int) -> Message:
    return Message(f"{number:032x}", BODY, HEADERS)


def renumbered(delivery: Delivery) -> Message:
    """The next message of the same number, made anew as a worker does."""
    return message(int(delivery.message.id, 16))


async def at_once(work: Callable[[int], Awaitable[object]], count: int) -> None:
    """``work`` for each number, from ``AT_ONCE`` tasks."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


class Slots:
    """A task per message, at most ``AT_ONCE`` of them, as a worker does."""

    def __init__(self) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def free(self) -> int:
        """How many; waits until there is one."""
        while len(self.running) >= AT_ONCE:
            self._ended.clear()
            await self._ended.wait()
        return AT_ONCE - len(self.running)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        self._ended.set()
        task.result()


async def hops(consumer: Consumer, count: int, settle: Settle) -> None:
    """Receive into free slots and settle each delivery in a task of its own."""
    slots = Slots()
    while count > 0:
        for delivery in await consumer.receive(min(count, await slots.free())):
            count -= 1
            slots.start(settle(delivery))
    await asyncio.gather(*slots.running)


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Rate and CPU, of this process and of the server ``pid``, of pieces of work of ``count`` messages."""

    def __init__(self, pid: int, count: int) -> None:
        self.pid, self.count = pid, count

    async def measure(self, what: str, work: Callable[[int], Awaitable[object]], base: float = 0) -> float:
        """Print and return messages a second, beside ``base`` of them; ``work`` is told how many."""
        before, client, server = time.perf_counter(), time.process_time(), cpu_of(self.pid)
        await work(self.count)
        wall = time.perf_counter() - before
        client, server = time.process_time() - client, cpu_of(self.pid) - server
        rate = self.count / wall
        ratio = f"{rate / base:6.2f} of bare" if base else " " * 14
        cost = f"{client / self.count * 1e6:5.1f} us here, {server / self.count * 1e6:5.1f} us there"
        print(f"{what:41} {rate:9.0f}/s {ratio}   {cost}")
        return rate

    async def each(self, what: str, work: Callable[[int], Awaitable[object]], base: float = 0) -> float:
        """``measure`` of work that is called for each number, at once."""
        return await self.measure(what, lambda count: at_once(work, count), base)


async def wake(receiving: Awaitable[T], sending: Awaitable[object]) -> tuple[T, float]:
    """What an idle receiver receives, and seconds from sending until it has it."""
    waiting = asyncio.ensure_future(receiving)
    await asyncio.sleep(0.005)  # let it wait: an idle receiver is what is measured
    start = time.perf_counter()
    await sending
    return await waiting, time.perf_counter() - start


def print_latency(what: str, seconds: list[float]) -> None:
    found = sorted(seconds)
    print(f"{what:41} p50 {found[len(found) // 2] * 1e3:.2f} ms, p99 {found[len(found) * 99 // 100] * 1e3:.2f} ms")
