"""Transports with one deliberate fault each that only real time, threads or processes bring to light.

Imports nothing relative: a second process loads this file by its path.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from paigeant.abc import Consumer, Delivery, Transport
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.model.capabilities import Capabilities
from paigeant.testing import TransportSuite

DECLARED = Capabilities(atomic_settle=True, atomic_writes=True, renewable=True, counts_deliveries=True, max_delay=None)


class BusyTransport(InMemoryTransport):
    """Waits in a loop without a pause."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Any]:
        async with super().consume(queues, lease=lease) as inner:

            class Busy(Consumer):
                async def receive(self, limit: int) -> list[Delivery]:
                    task = asyncio.ensure_future(inner.receive(limit))
                    try:
                        while not task.done():
                            await asyncio.sleep(0)
                        return task.result()
                    finally:
                        task.cancel()

            yield Busy()


class LonelyTransport(InMemoryTransport):
    """A clone knows nothing of the leases of another instance."""

    used = False

    async def publish(self, *publications: Any, **more: Any) -> None:
        self.used = True
        await super().publish(*publications, **more)

    def clone(self) -> LonelyTransport:
        return LonelyTransport(namespace=self.namespace)

    async def renew(self, tokens: Collection[str]) -> set[str]:
        return await super().renew(tokens) if self.used else set(tokens)


class _Real(TransportSuite):
    capabilities = DECLARED
    transport: type[InMemoryTransport] = InMemoryTransport

    def make(self, tmp_path: Path) -> Transport:
        return self.transport(namespace=self.namespace)


class PollsBusily(_Real):
    transport = BusyTransport
    fails = frozenset({"test_T27_waiting_costs_no_processor_time"})


class RenewsItsOwnOnly(_Real):
    transport = LonelyTransport
    fails = frozenset({"test_T31_another_thread_renews_while_the_loop_is_blocked"})


class Overpromises(_Real):
    """Declares that other processes see its memory."""

    capabilities = replace(DECLARED, persistent_queues=True)
    patience = 1.5
    fails = frozenset({"test_T10_a_killed_publisher_loses_nothing", "test_T23_a_killed_consumer_loses_nothing"})


REAL = [PollsBusily, RenewsItsOwnOnly, Overpromises]
