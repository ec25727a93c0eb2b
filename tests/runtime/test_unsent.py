"""A message that could not be sent: tried again within seconds, however often that fails, or parked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivitySpec, RetryPolicy, WorkflowClient, WorkflowDispatcher, activity
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendUnavailable, MessageTooLarge
from paigeant.model.events import WorkflowParked
from paigeant.runtime.sweeper import Sweeper
from paigeant.testing import VirtualClock

from ..support import PATIENCE, Bed, Recorder, until


class Failing(InMemoryTransport):
    """Refuses the next ``refusals`` publications."""

    refusals = 0

    async def publish(self, *publications: Any, writes: Any = ()) -> None:
        if publications and self.refusals:
            self.refusals -= 1
            raise BackendUnavailable("the broker is away")
        await super().publish(*publications, writes=writes)


@activity
async def echo() -> int:
    return 1


@pytest.mark.parametrize("at", ["dispatch", "hop"])
async def test_an_unsent_message_is_tried_again_soon(
    at: str, memory: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paigeant.runtime.moving.UNSENT_AGAIN", 0.05)
    bed = Bed("inmemory", "separate", memory.directory)
    async with Failing("inmemory://unsent") as transport, bed:
        async with WorkflowDispatcher(transport, state_store=bed.store) as dispatcher:
            transport.refusals = 4 if at == "dispatch" else 0
            workflow = await dispatcher.dispatch_workflow([ActivitySpec("echo"), ActivitySpec("echo")])
        if at == "hop":
            transport.refusals = 4
        bed.transport = transport
        async with bed.worker(echo), WorkflowClient(transport, state_store=bed.store) as client:
            async with asyncio.timeout(20):  # far less than when a message that was sent would be overdue
                assert (await client.result(workflow)).status == "completed"
    assert transport.refusals == 0
    assert caplog.text.count("was not sent") == 4


class Narrow(InMemoryTransport):
    """Its server has a lower limit than it said, until somebody raises it."""

    narrow = True

    async def publish(self, *publications: Any, writes: Any = ()) -> None:
        if self.narrow and any(one.queue == "second" for one in publications):
            raise MessageTooLarge("over the limit of the server")
        await super().publish(*publications, writes=writes)


@activity("second")
async def second() -> int:
    return 2


async def test_what_the_broker_will_never_take_is_parked(memory: Bed) -> None:
    recorder = Recorder()
    bed = Bed("inmemory", "separate", memory.directory)
    async with Narrow("inmemory://narrow") as transport, bed:
        bed.transport = transport
        workflow = await bed.dispatch([ActivitySpec("echo"), ActivitySpec("second")])
        async with bed.worker(echo, second, observers=[recorder]), bed.client() as client:

            async def parked() -> bool:
                return (await client.status(workflow)).state == "parked"

            await until(parked)
            [status] = await client.parked()
            assert (status.correlation_id, status.queue) == (workflow, "second")
            assert status.parked == "MessageTooLarge: over the limit of the server"
            await client.resume(workflow)
            assert await parked(), "the limit is still what it was"
            transport.narrow = False
            await client.resume(workflow)
            assert (await client.result(workflow, timeout=PATIENCE)).results == {"echo": 1, "second": 2}
    assert [event.workflow for event in recorder.of(WorkflowParked)] == [workflow]


async def test_so_is_what_the_sweeper_cannot_put_back_to_work(tmp_path: Path) -> None:
    clock, attempts = VirtualClock(), []

    @activity("second", retry=RetryPolicy(attempts=2, first_delay=60, jitter=False))
    async def late() -> None:
        attempts.append(1)
        raise ValueError("not yet")

    async with Narrow(f"inmemory://{tmp_path.name}", clock=clock) as transport:
        transport.narrow = False
        bed = Bed("inmemory", "shared", tmp_path)
        bed.transport = transport
        async with bed.dispatcher(clock=clock) as dispatcher, bed.client(clock=clock) as client:
            workflow = await dispatcher.dispatch_workflow([late.spec()])
            async with bed.worker(late, clock=clock):

                async def waits() -> bool:
                    return (await client.status(workflow)).state == "waiting"

                await until(waits)
            transport.narrow = True
            clock.jump(61)
            assert await Sweeper(await client._session.open(), bed.state).sweep() == 1
            assert [one.parked.partition(":")[0] for one in await client.parked()] == ["MessageTooLarge"]
