"""Workers that are too late: suspended, overtaken, given a copy. What they do changes nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivityContext, ActivitySpec, Worker, activity
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write
from paigeant.runtime import heartbeat
from paigeant.runtime.claim import Claim

from ..support import KINDS, PATIENCE, STORED, Bed, Kind, Mode, until
from .journey import LEASE, NAMES, SLIP, activities, hurry, runs
from .tripwire import Tripwire, WiredTransport

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    from paigeant.state import transitions

    monkeypatch.setattr(transitions, "RESEND_AFTER", transitions.RESEND_AFTER)
    hurry()


@pytest.fixture(params=[(kind, mode) for kind in KINDS for mode in STORED], ids="-".join)
async def bed(request: Any, tmp_path: Path) -> AsyncIterator[Bed]:
    kind, mode = request.param
    async with Bed(kind, mode, tmp_path) as bed:
        yield bed


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("point", ["step", "commit"])
@pytest.mark.parametrize("mode", STORED)
async def test_a_worker_suspended_past_its_lease_changes_nothing(tmp_path: Path, mode: Mode, point: str) -> None:
    notes = tmp_path / "notes"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.journey", str(tmp_path), mode, point, "before", "1", "stop"),
        env={"PYTHONPATH": str(ROOT)},
    )
    try:
        async with Bed("sqlite", mode, tmp_path) as bed:
            workflow = await bed.dispatch(SLIP)
            await until(lambda: _is_stopped(process.pid))
            async with bed.worker(*activities(notes), lease=LEASE):
                assert (await bed.outcome(workflow)).status == "completed"
            before, entry = await bed.steps(workflow), await _tombstone(bed, workflow)
            process.send_signal(signal.SIGCONT)
            # It runs one thing at a time: once it has done this, it is through with what it had.
            again = await bed.dispatch(SLIP)
            assert (await bed.outcome(again)).status == "completed"
            assert await bed.steps(workflow) == before == [(name, "do", "ok") for name in NAMES]
            assert await _tombstone(bed, workflow) == entry
            assert await bed.all_dead() == []
            assert runs(notes) == ["first", "second", "second", "third", *NAMES]
    finally:
        process.kill()
        await process.wait()


async def _tombstone(bed: Bed, workflow: str) -> Any:
    from paigeant.state.ids import BranchKeys

    return await bed.state.get(BranchKeys.of(workflow).cursor)


async def test_two_workers_on_one_hop_commit_it_once(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first believes that it still owns the hop: nobody tells it that its lease ended."""

    async def unaware(*_: Any) -> set[Any]:
        return set()

    monkeypatch.setattr(heartbeat._Renewer, "renew", unaware)
    runs: list[int] = []
    over = asyncio.Event()

    @activity
    async def slow() -> int:
        runs.append(mine := len(runs) + 1)
        if mine == 1:
            await over.wait()
        return mine

    workflow = await bed.dispatch([ActivitySpec("slow"), ActivitySpec("after")])
    ran: list[int] = []

    @activity
    async def after() -> None:
        ran.append(1)

    async with bed.worker(slow, after, lease=3.0), bed.worker(slow, after, lease=3.0):
        outcome = await bed.outcome(workflow)
        entry = await _tombstone(bed, workflow)
        over.set()
    assert outcome.status == "completed"
    assert outcome.results.get("slow", 2) == 2
    assert (runs, ran) == ([1, 2], [1])
    assert await _tombstone(bed, workflow) == entry
    assert await bed.steps(workflow) == [("slow", "do", "ok"), ("after", "do", "ok")]
    assert await bed.all_dead() == []


async def test_an_activity_whose_lease_is_lost_is_stopped_and_run_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[int] = []
    lost = asyncio.Event()
    renew = heartbeat._Renewer.renew

    async def refused(self: Any, claims: list[Any], lease: float) -> set[Any]:
        return set(claims) if not stopped else await renew(self, claims, lease)

    monkeypatch.setattr(heartbeat._Renewer, "renew", refused)

    @activity
    async def slow() -> None:
        if stopped:
            return
        try:
            await lost.wait()
        finally:
            stopped.append(1)

    workflow = await bed.dispatch([ActivitySpec("slow")])
    async with bed.worker(slow, lease=0.6):
        assert (await bed.outcome(workflow)).status == "completed"
    assert stopped == [1]


async def test_copies_of_a_message_take_effect_once(bed: Bed, tmp_path: Path) -> None:
    workflow = await bed.dispatch(SLIP)
    (message,) = await bed.transport.peek("first")
    copies = [Publication("first", Message(f"copy-{n}", message.body, message.headers)) for n in range(20)]
    await bed.transport.publish(*copies)
    served = activities(tmp_path / "notes")
    async with bed.worker(*served, lease=LEASE), bed.worker(*served, lease=LEASE):
        outcome = await bed.outcome(workflow)
        assert outcome.status == "completed"
        assert dict(outcome.variables) == dict.fromkeys(NAMES, 1)

        async def empty() -> bool:
            stats = await bed.transport.queues(*NAMES)
            return not any(each.ready or each.in_flight or each.delayed for each in stats.values())

        await until(empty)
        ran = runs(tmp_path / "notes")
        await bed.transport.publish(*copies)
        await until(empty)
        assert runs(tmp_path / "notes") == ran, "an old message of an ended workflow runs nothing"
    assert await bed.steps(workflow) == [(name, "do", "ok") for name in NAMES]
    assert ran.count("third") == 1
    assert await bed.all_dead() == []


@pytest.mark.parametrize("kind", KINDS)
async def test_copies_that_run_at_the_same_time_commit_once(tmp_path: Path, kind: Kind) -> None:
    """Shared mode has no claim: a copy made by hand may run beside the original."""
    running, ran = asyncio.Barrier(5), list[int]()

    @activity
    async def first(ctx: ActivityContext) -> None:
        await running.wait()
        ctx.variables["first"] = ctx.variables.get("first", 0) + 1

    @activity
    async def second() -> None:
        ran.append(1)
        await asyncio.sleep(0.1)  # long enough for another forward to be seen

    async with Bed(kind, "shared", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("first"), ActivitySpec("second")])
        (message,) = await bed.transport.peek("first")
        copies = [Publication("first", Message(f"copy-{n}", message.body, message.headers)) for n in range(4)]
        await bed.transport.publish(*copies)
        async with bed.worker(first, second):
            outcome = await bed.outcome(workflow)

            async def empty() -> bool:
                stats = await bed.transport.queues("first", "second")
                return not any(each.ready or each.in_flight for each in stats.values())

            await until(empty)
        assert dict(outcome.variables) == {"first": 1}
        assert ran == [1], "the forward happened once"
        assert await bed.steps(workflow) == [("first", "do", "ok"), ("second", "do", "ok")]


class SlowPublish(WiredTransport):
    """Takes longer to publish than a lease lasts."""

    def __init__(self, inner: Any, delay: float) -> None:
        super().__init__(inner, Tripwire("", "", 0, lambda: None))
        self.delay = delay

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await asyncio.sleep(self.delay)
        await self.inner.publish(*publications, writes=writes)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_commit_is_not_mistaken_for_a_lost_lease(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The heartbeat meets a cursor that its own worker has just moved: the message must still be sent."""
    from paigeant.state import transitions

    add = heartbeat.Heartbeat.add

    def soon_due(self: heartbeat.Heartbeat, claim: Claim) -> None:
        claim.expires = time.monotonic() + 18.0  # of 30
        add(self, claim)

    monkeypatch.setattr(heartbeat.Heartbeat, "add", soon_due)
    monkeypatch.setattr(transitions, "RESEND_AFTER", 3600.0)
    async with Bed(kind, "separate", tmp_path) as bed:
        workflow = await bed.dispatch(SLIP)
        bed.transport = SlowPublish(bed.transport, 0.8)
        async with bed.worker(*activities(tmp_path / "notes"), lease=30.0):
            assert (await bed.outcome(workflow)).status == "completed"
    assert "is lost" not in caplog.text


@pytest.mark.slow
async def test_a_busy_loop_keeps_its_lease_and_is_named(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    lease = 1.0
    ran: list[str] = []

    @activity
    async def busy() -> None:
        ran.append(threading.current_thread().name)
        time.sleep(lease * 2.5)  # what nobody should do

    workflow = await bed.dispatch([ActivitySpec("busy")])
    rival = threading.Thread(target=lambda: asyncio.run(rivals(bed, stop, busy, lease)), name="rival")
    stop = threading.Event()
    with caplog.at_level(logging.WARNING, "paigeant.runtime"):
        async with bed.worker(busy, lease=lease):
            await until(lambda: bool(ran))
            rival.start()
            try:
                assert (await bed.outcome(workflow)).status == "completed"
            finally:
                stop.set()
                await asyncio.to_thread(rival.join)
    assert len(ran) == 1
    assert "blocks the event loop" in caplog.text
    assert "'busy'" in caplog.text
    assert "time.sleep(lease * 2.5)" in caplog.text, "the stack shows the line"


async def rivals(bed: Bed, stop: threading.Event, served: Any, lease: float) -> None:
    """Another worker, in another thread, that would take over whatever it can."""
    transport, store = bed.make_transport(), bed.make_store()
    async with Worker(transport, [served], state_store=store, lease=lease):
        await asyncio.to_thread(stop.wait, PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("mode", STORED)
async def test_an_activity_that_kills_its_worker_every_time_is_parked_as_poison(tmp_path: Path, mode: Mode) -> None:
    async with Bed("sqlite", mode, tmp_path) as bed:
        workflow = await bed.dispatch(SLIP)
        async with bed.client() as client:
            deaths = 0
            while (await client.status(workflow)).state != "parked":
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.chaos.journey", str(tmp_path), mode, "step", "before", "1"),
                    *("poison", workflow),
                    env={"PYTHONPATH": str(ROOT)},
                )
                try:
                    async with asyncio.timeout(30):
                        deaths += await process.wait() == -signal.SIGKILL
                finally:
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
                assert deaths <= 5
            (parked,) = await client.parked()
            assert (parked.correlation_id, parked.parked, parked.queue) == (workflow, "poison", "second")
            assert deaths == 5
            await client.resume(workflow)
        async with bed.worker(*activities(tmp_path / "notes"), lease=LEASE):
            assert (await bed.outcome(workflow)).status == "completed"
        assert await bed.steps(workflow) == [(name, "do", "ok") for name in NAMES]
        assert await bed.all_dead() == []
