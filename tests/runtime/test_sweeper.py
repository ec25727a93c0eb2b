"""The sweeper outlives whatever one look meets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from paigeant import ActivitySpec, WorkflowDispatcher, activity
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendCorrupt
from paigeant.model.store import Entry

from ..support import Bed


class Odd(InMemoryStore):
    """Names a cursor that cannot be read as due, always first; and fails in a way that no store may, at first."""

    slips = 2
    reads = 0

    async def due(self, before: float, limit: int = 100) -> list[str]:
        if self.slips:
            self.slips -= 1
            raise OverflowError("a slip")
        return ["run/odd/0", *await super().due(before, limit)]

    async def get(self, key: str) -> Entry | None:
        if key == "run/odd/0":
            self.reads += 1
            raise BackendCorrupt("not written by Paigeant")
        return await super().get(key)


class Lossy(InMemoryTransport):
    """Loses the first publication."""

    lost = False

    async def publish(self, *publications: object, writes: Sequence[object] = ()) -> None:
        if not self.lost:
            self.lost = True
            return
        await super().publish(*publications, writes=writes)  # type: ignore[arg-type]


@activity
async def echo() -> int:
    return 1


async def test_neither_a_slip_nor_an_odd_entry_keeps_it_from_the_others(
    memory: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paigeant.state.transitions.RESEND_AFTER", 0.05)
    monkeypatch.setattr("paigeant.runtime.sweeper.random.sample", lambda keys, count: keys[:count])
    async with Lossy("inmemory://lossy") as transport, Odd("inmemory://odd") as store:
        async with WorkflowDispatcher(transport, state_store=store) as dispatcher:
            workflow = await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        bed = Bed("inmemory", "separate", memory.directory)
        async with bed:
            bed.transport, bed.store = transport, store
            async with bed.worker(echo), bed.client() as client, asyncio.timeout(20):
                assert (await client.result(workflow)).status == "completed"
    assert store.reads > 0
    assert caplog.text.count("the sweeper failed; it goes on") == 2
