"""The gaps of a hop: a worker dies, or its backend fails, between any two of its acts."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from paigeant.errors import BackendError, BackendUnavailable, WorkflowNotFound

from ..support import KINDS, MODES, Bed, Kind, Mode, until
from .journey import LEASE, NAMES, SLIP, activities, hurry, runs
from .tripwire import POINTS, Tripwire, WiredStore, WiredTransport, unavailable, unknown

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    from paigeant.state import transitions

    monkeypatch.setattr(transitions, "RESEND_AFTER", transitions.RESEND_AFTER)
    hurry()


def gaps(mode: Mode) -> list[tuple[Mode, str, str]]:
    points = [(point, when) for point in POINTS[mode] for when in ("before", "after")]
    return [(mode, point, when) for point, when in [*points, ("step", "before")]]


KILLS = [
    (mode, point, when, hop)
    for hop in (0, 2)
    for mode, point, when in (*gaps("shared"), *gaps("separate"), *gaps("none"))
    if (point, hop) != ("publish", 2)  # the last hop has nothing to publish
]


async def killed_worker(directory: Path, mode: Mode, point: str, when: str, hop: int) -> None:
    """A worker process of its own that dies at that point."""
    env = {"PYTHONPATH": str(ROOT), **({"PAIGEANT_STATE_STORE": "none"} if mode == "none" else {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.journey", str(directory), mode, point, when, str(hop), env=env
    )
    try:
        async with asyncio.timeout(30):
            assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def assert_whole(bed: Bed, workflow: str, notes: Path, repeated: str | None) -> None:
    """It completed, each hop is in its history once, and nothing is left anywhere."""
    outcome = await bed.outcome(workflow)
    assert outcome.status == "completed"
    assert outcome.results["third"] == "third"
    assert outcome.variables == dict.fromkeys(NAMES, 1), "a step took effect twice"
    if bed.mode != "none":
        assert await bed.steps(workflow) == [(name, "do", "ok") for name in NAMES]
    assert await bed.all_dead() == []
    expected = Counter(NAMES)
    if repeated is not None:
        expected[repeated] += 1
    assert Counter(runs(notes)) == expected

    async def empty() -> bool:
        stats = await bed.transport.queues(*NAMES)
        return not any(each.ready or each.in_flight or each.delayed for each in stats.values())

    await until(empty)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "point", "when", "hop"), KILLS)
async def test_a_worker_killed_in_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, point: str, when: str, hop: int
) -> None:
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with Bed("sqlite", mode, tmp_path) as bed:
        workflow = await bed.dispatch(SLIP)
        await killed_worker(tmp_path, mode, point, when, hop)
        async with bed.worker(*activities(tmp_path / "notes"), lease=LEASE):
            lost = (point, when) in {("step", "before"), ("commit", "before")}
            await assert_whole(bed, workflow, tmp_path / "notes", NAMES[hop] if lost else None)


TROUBLES = {"unavailable": ("before", unavailable), "not done": ("before", unknown), "done": ("after", unknown)}
"""What the backend answers: no; perhaps (it did not); perhaps (it did)."""

FAILURES = [
    (mode, point, trouble)
    for mode in MODES
    for point in POINTS[mode]
    for trouble in TROUBLES
    if trouble != "done" or point not in {"receive", "read"}  # reading has no outcome that could be unknown
]


@pytest.mark.parametrize(("mode", "point", "trouble"), FAILURES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_backend_that_fails_in_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, mode: Mode, point: str, trouble: str
) -> None:
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    when, act = TROUBLES[trouble]
    wire = Tripwire(point, when, 1, act)
    async with Bed(kind, mode, tmp_path) as bed:
        workflow = await bed.dispatch(SLIP)
        bed_transport, bed.transport = bed.transport, WiredTransport(bed.transport, wire)
        store = WiredStore(bed.store, wire) if bed.store is not None else None
        notes = tmp_path / "notes"
        async with bed.worker(*activities(notes), lease=LEASE, state_store=store):
            bed.transport = bed_transport
            await assert_whole(bed, workflow, notes, None)
            assert wire.tripped


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(("mode", "point"), [("shared", "publish"), ("separate", "commit"), ("separate", "publish")])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_backend_that_fails_during_dispatch(
    tmp_path: Path, kind: Kind, mode: Mode, point: str, trouble: str
) -> None:
    when, act = TROUBLES[trouble]
    wire = Tripwire(point, when, -1, act)
    async with Bed(kind, mode, tmp_path) as bed:
        inner, bed.transport = bed.transport, WiredTransport(bed.transport, wire)
        inner_store = bed.store
        bed.store = WiredStore(bed.store, wire) if bed.store is not None else None
        if trouble == "unavailable" and (mode, point) != ("separate", "publish"):  # the first write: nothing happened
            with pytest.raises(BackendUnavailable):
                await bed.dispatch(SLIP, correlation_id="again")
            with pytest.raises(WorkflowNotFound):
                await bed.outcome("again")
        workflow = await bed.dispatch(SLIP, correlation_id="again")
        assert wire.tripped
        bed.transport, bed.store = inner, inner_store
        async with bed.worker(*activities(tmp_path / "notes"), lease=LEASE):
            await assert_whole(bed, workflow, tmp_path / "notes", None)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_store_a_failed_dispatch_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with Bed(kind, "none", tmp_path) as bed:
        bed.transport = WiredTransport(bed.transport, Tripwire("publish", "before", -1, unavailable))
        with pytest.raises(BackendError):
            await bed.dispatch(SLIP)
