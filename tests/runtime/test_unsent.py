"""Separate mode: a message that could not be sent is tried again within seconds, however often that fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from paigeant import ActivitySpec, WorkflowClient, WorkflowDispatcher, activity
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendUnavailable

from ..support import Bed


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
    monkeypatch.setattr("paigeant.runtime.protocol.stored.UNSENT_AGAIN", 0.05)
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
