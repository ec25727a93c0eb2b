"""A worker begins to receive: also from a broker that was reached and does not serve yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from paigeant import ActivitySpec, ConfigurationError, activity
from paigeant.abc import Consumer
from paigeant.errors import BackendCorrupt, BackendUnavailable, OutcomeUnknown
from paigeant.runtime import serving

from ..support import Bed


@activity
async def fine() -> int:
    return 1


class Electing:
    """In the place of ``consume``: raises these errors, one each time, before it serves."""

    def __init__(self, bed: Bed, *ends: Exception) -> None:
        self._consume, self._ends, self.asked = bed.transport.consume, list(ends), asyncio.Event()

    def __call__(self, queues: Collection[str], **options: Any) -> AbstractAsyncContextManager[Consumer]:
        self.asked.set()
        if self._ends:
            raise self._ends.pop(0)
        return self._consume(queues, **options)


async def test_a_broker_that_does_not_serve_yet_is_asked_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "_PAUSE", 0.01)
    electing = Electing(bed, BackendUnavailable("no leader"), OutcomeUnknown("no answer"))
    with caplog.at_level(logging.WARNING, "paigeant.worker"), monkeypatch.context() as patched:
        patched.setattr(bed.transport, "consume", electing)
        async with bed.worker(fine, name="w"):
            patched.undo()
            assert (await bed.outcome(await bed.dispatch([ActivitySpec("fine")]))).status == "completed"
    assert [record.message for record in caplog.records] == [
        "worker w cannot begin to receive: no leader; trying again",
        "worker w cannot begin to receive: no answer; trying again",
    ]


async def test_told_to_stop_meanwhile_it_ends_in_order(memory: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_PAUSE", 3600.0)
    electing = Electing(memory, BackendUnavailable("no leader"))
    monkeypatch.setattr(memory.transport, "consume", electing)
    worker = memory.worker(fine)
    running = asyncio.create_task(worker.run())
    await electing.asked.wait()
    worker.stop()
    async with asyncio.timeout(30):
        await running


@pytest.mark.parametrize("error", [ConfigurationError("another lease"), BackendCorrupt("not ours")])
async def test_what_no_waiting_mends_ends_it(memory: Bed, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(memory.transport, "consume", Electing(memory, error))
    with pytest.raises(type(error), match=str(error)):
        await memory.worker(fine).run()
