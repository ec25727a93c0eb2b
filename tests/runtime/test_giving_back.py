"""Nothing is left to its lease that can be given back: on some brokers the lease is that of the connection."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivitySpec, activity
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.model.capabilities import Capabilities
from paigeant.model.message import Message
from paigeant.model.store import Entry
from paigeant.runtime import execution, hop, reception
from paigeant.runtime.protocol.separate import SeparateProtocol
from paigeant.runtime.throttle import TOLERATED
from paigeant.state.ids import BranchKeys
from paigeant.state.transitions import MAX_CRASHES
from paigeant.testing.clock import VirtualClock

from ..support import NO_RETRY, STORED, Bed, Mode, until


@activity
async def fine() -> int:
    return 1


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reception, hop):
        monkeypatch.setattr(module, "ODD_DELAY", 0.05)


async def test_a_cursor_that_cannot_be_read_holds_its_message_no_longer_than_that(
    stored: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = await stored.dispatch([ActivitySpec("fine")])
    key = BranchKeys.of(workflow).cursor
    good: Entry | None = await stored.state.get(key)
    assert good is not None
    await stored.state.put(key, b"something else")
    async with stored.worker(fine, lease=600):
        await until(lambda: "cannot be read" in caplog.text)
        await stored.state.put(key, good.value)
        assert (await stored.outcome(workflow)).results == {"fine": 1}


async def test_an_error_of_our_own_is_logged_and_the_message_comes_back(
    bed: Bed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = [ZeroDivisionError("a slip")]
    claim = reception.Reception.claim

    async def slips(self: Any, delivery: Any) -> Any:
        if once:
            raise once.pop()
        return await claim(self, delivery)

    monkeypatch.setattr(reception.Reception, "claim", slips)
    async with bed.worker(fine, lease=600), bed.dispatcher() as dispatcher, bed.client() as client:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("fine")])
        assert (await client.outcome(workflow, timeout=30)).results == {"fine": 1}
    assert "ZeroDivisionError: a slip" in caplog.text


async def test_so_it_does_after_the_hop_was_claimed(
    bed: Bed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = [ZeroDivisionError("a slip")]
    run = execution.Execution.run

    async def slips(self: Any) -> Any:
        if once:
            raise once.pop()
        return await run(self)

    monkeypatch.setattr(execution.Execution, "run", slips)
    async with bed.worker(fine, lease=600), bed.dispatcher() as dispatcher, bed.client() as client:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("fine")])
        assert (await client.outcome(workflow, timeout=30)).results == {"fine": 1}
    assert "ZeroDivisionError: a slip" in caplog.text
    assert "could not be given back" not in caplog.text


@pytest.mark.parametrize("mode", STORED)
async def test_what_fails_so_each_time_is_poison(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def slips(self: Any) -> Any:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(execution.Execution, "run", slips)
    clock = VirtualClock()
    async with (
        Bed("inmemory", mode, tmp_path, clock=clock) as bed,
        bed.dispatcher(clock=clock) as dispatcher,
        bed.client(clock=clock) as client,
        bed.worker(fine, lease=600, clock=clock),
    ):
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("fine")])
        for _ in range(10):
            await clock.advance(1)
        status = await client.status(workflow)
        assert (status.state, status.parked) == ("parked", "poison")
    assert caplog.text.count("ZeroDivisionError: a slip") == MAX_CRASHES


class NoDelays(InMemoryTransport):
    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, max_delay=0.0)


async def test_where_the_broker_cannot_delay_a_message_does_not_go_round_and_round(memory: Bed) -> None:
    clock = VirtualClock()
    memory.transport = NoDelays("inmemory://no-delays")
    async with memory.transport, memory.dispatcher(clock=clock) as dispatcher:
        env = await dispatcher._session.open()
        later = asyncio.create_task(env.later("q", Message("m", b"", {}), 5.0))
        await clock.advance(0.9)
        assert not later.done()
        await clock.advance(0.2)
        assert (await later).delay == 0.0


async def test_an_activity_that_fails_leaves_slots_to_others(memory: Bed) -> None:
    """The clock stands still: who is held back, is so for ever."""

    @activity("bad", retry=NO_RETRY)
    async def bad() -> None:
        raise ValueError("no")

    async with (
        memory.worker(bad, fine, concurrency=4, clock=VirtualClock()),
        memory.dispatcher() as dispatcher,
        memory.client() as client,
    ):
        failed = [await dispatcher.dispatch_workflow([ActivitySpec("bad")]) for _ in range(TOLERATED)]
        for workflow in failed:
            assert (await client.outcome(workflow, timeout=30)).status == "failed"
        for _ in range(8):
            await dispatcher.dispatch_workflow([ActivitySpec("bad")])
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("fine")])
        assert (await client.outcome(workflow, timeout=30)).results == {"fine": 1}


async def test_a_claim_that_was_cancelled_and_that_another_copy_won_had_nothing_to_give_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No lease of ours will end: whoever reads the log must not look for one."""
    claiming, gate, swap = asyncio.Event(), asyncio.Event(), SeparateProtocol._swap

    async def late(self: Any, claim: Any, move: Any) -> int:
        if not claiming.is_set():
            claiming.set()
            await gate.wait()
        return await swap(self, claim, move)

    monkeypatch.setattr(SeparateProtocol, "_swap", late)
    async with Bed("inmemory", "separate", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("fine")])
        with caplog.at_level(logging.INFO):
            async with bed.worker(fine, grace=0.0):
                await claiming.wait()
                key = BranchKeys.of(workflow).cursor
                entry = await bed.state.get(key)
                assert entry is not None
                await bed.state.put(key, entry.value)
            async with bed.worker(fine):
                assert (await bed.outcome(workflow)).results == {"fine": 1}
    assert "taken over" in caplog.text
    assert "could not be given back" not in caplog.text
