"""The heartbeat goes on whatever its own connection does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paigeant import ActivitySpec, ConfigurationError, activity
from paigeant.builtin.inmemory.transport import InMemoryDelivery
from paigeant.builtin.sqlite.consumer import SqliteDelivery
from paigeant.errors import OutcomeUnknown
from paigeant.model.events import ActivityCompleted, WorkflowEnded
from paigeant.model.store import KEEP
from paigeant.runtime.claim import Claim
from paigeant.runtime.heartbeat import Heartbeat

from ..support import PATIENCE, Bed, Kind, Mode, Recorder, until


class Flaky:
    """Clones of ``owner`` whose first connects fail, and that tell of each renewal."""

    def __init__(self, owner: Any, renewal: str, errors: list[Exception]) -> None:
        self._clone, self._renewal, self._errors = owner.clone, renewal, errors
        self.renewals = 0
        owner.clone = self.clone

    def clone(self) -> Any:
        made = self._clone()
        connect, renew = made.connect, getattr(made, self._renewal)

        async def failing() -> None:
            if self._errors:
                raise self._errors.pop()
            await connect()

        async def counted(*args: Any, **options: Any) -> Any:
            result = await renew(*args, **options)
            self.renewals += 1
            return result

        made.connect = failing
        setattr(made, self._renewal, counted)
        return made


async def test_a_lease_is_kept_although_the_first_connects_fail(
    stored: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Heartbeat, "add", _soon_due(Heartbeat.add))
    errors: list[Exception] = [OSError("no route"), ConfigurationError("no such host")]
    owner, renewal = (stored.transport, "renew") if stored.store is None else (stored.store, "put")
    flaky = Flaky(owner, renewal, errors)
    runs: list[int] = []

    @activity
    async def slow() -> int:
        runs.append(1)
        await until(lambda: flaky.renewals >= 1, "a renewal")
        return 1

    outcome = await stored.run([ActivitySpec("slow")], slow)
    assert (outcome.status, runs) == ("completed", [1])
    assert "leases could not be renewed: no such host" in caplog.text
    assert "leases could not be renewed: no route" in caplog.text


@pytest.mark.parametrize("kind", ["inmemory", "sqlite"])
@pytest.mark.parametrize("mode", ["shared", "none"])
async def test_a_renewal_that_comes_after_the_settle_takes_nothing_for_lost(
    kind: Kind, mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker would be cancelled, and not tell of an end that it has committed."""
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none") if mode == "none" else None
    monkeypatch.setattr(Heartbeat, "add", _soon_due(Heartbeat.add))

    @activity
    async def work() -> None: ...

    async with Bed(kind, mode, tmp_path) as bed:
        flaky, deliveries = Flaky(bed.transport, "renew", []), SqliteDelivery if kind == "sqlite" else InMemoryDelivery
        settle = deliveries.settle

        async def slow_answer(delivery: Any, *args: Any, **options: Any) -> None:
            await settle(delivery, *args, **options)
            if delivery.queue == "work":
                before = flaky.renewals
                await until(lambda: flaky.renewals > before + 1, "a renewal")

        monkeypatch.setattr(deliveries, "settle", slow_answer)
        with caplog.at_level(logging.INFO):
            assert (await bed.run([ActivitySpec("work")], work)).status == "completed"
    assert "is lost" not in caplog.text
    assert "is completed" in caplog.text


def _soon_due(add: Callable[[Heartbeat, Claim], None]) -> Callable[[Heartbeat, Claim], None]:
    """As if a third of the lease were over, and more."""

    def soon(heartbeat: Heartbeat, claim: Claim) -> None:
        claim.expires = time.monotonic() + heartbeat._lease * 0.6
        add(heartbeat, claim)

    return soon


@dataclass(eq=False)
class Owned:
    """What the heartbeat knows of a claim."""

    name: str
    revision: int = 1
    expires: float = 0.0
    seq: int = 0
    concluding: bool = False
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def keys(self) -> Any:
        return SimpleNamespace(cursor=self.name)

    @property
    def correlation_id(self) -> str:
        return self.name

    def lose(self) -> None:
        self.lost.set()


class Store:
    """Answers for all keys but one."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.renewed: dict[str, int] = {}

    def clone(self) -> Store:
        return self

    async def connect(self) -> None: ...

    async def disconnect(self) -> None:
        raise OSError("already gone")

    async def now(self) -> float:
        return 0.0

    async def put(self, key: str, value: object, *, expected: int, due: float) -> int:
        if key == "stuck":
            await self._answer()
        self.renewed[key] = self.renewed.get(key, 0) + 1
        return expected + 1


async def test_a_renewal_whose_answer_is_lost_does_not_end_the_renewals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a renewal has moved the revision, and the claim does not know of it."""
    dues, runs = list[float](), list[int]()

    @activity
    async def slow() -> None:
        runs.append(1)
        await until(lambda: len(dues) >= 2, "renewals")

    async with Bed("inmemory", "separate", tmp_path) as bed:
        put = type(bed.state).put

        async def forgetful(store: Any, key: str, value: Any, **options: Any) -> int:
            revision = await put(store, key, value, **options)
            if value is KEEP:
                dues.append(options["due"])
                if len(dues) == 1:
                    raise OutcomeUnknown("the answer was lost")
            return revision

        monkeypatch.setattr(type(bed.state), "put", forgetful)
        monkeypatch.setattr(Heartbeat, "add", _soon_due(Heartbeat.add))
        outcome = await bed.run([ActivitySpec("slow")], slow)
    assert (outcome.status, runs) == ("completed", [1])


async def test_who_lost_a_hop_tells_nothing_although_its_activity_swallows_the_cancellation(
    stored: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, runs, recorder = Heartbeat.add, list[int](), Recorder()

    def add_late(heartbeat: Heartbeat, claim: Claim) -> None:
        add(heartbeat, claim)
        if not runs:
            claim.expires = time.monotonic()

    monkeypatch.setattr(Heartbeat, "add", add_late)

    @activity
    async def stubborn() -> int:
        runs.append(1)
        if len(runs) == 1:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return len(runs)

    outcome = await stored.run([ActivitySpec("stubborn")], stubborn, worker={"lease": 3.0, "observers": [recorder]})
    assert outcome.results == {"stubborn": 2}
    assert len(recorder.of(ActivityCompleted)) == len(recorder.of(WorkflowEnded)) == 1


async def test_a_lease_in_the_store_counts_from_before_the_claim_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, ends, asked = Heartbeat.add, list[float](), list[float]()

    def noting(heartbeat: Heartbeat, claim: Claim) -> None:
        add(heartbeat, claim)
        ends.append(claim.expires)

    @activity
    async def quick() -> None: ...

    async with Bed("inmemory", "separate", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("quick")])
        put = type(bed.state).put

        async def note_time(*args: Any, **options: Any) -> int:
            asked.append(time.monotonic())
            return await put(*args, **options)

        monkeypatch.setattr(Heartbeat, "add", noting)
        monkeypatch.setattr(type(bed.state), "put", note_time)
        async with bed.worker(quick, lease=20.0):
            await bed.outcome(workflow)
    assert ends[0] <= asked[0] + 20.0


async def _never() -> None:
    await asyncio.Event().wait()


async def _refuse() -> None:
    raise OSError("not this one")


async def test_a_lease_that_ended_unseen_is_lost_whatever_the_store_would_accept() -> None:
    """As after a suspended process."""
    store, claim = Store(_never), Owned("late")
    env: Any = SimpleNamespace(mode="separate", store=store)
    async with Heartbeat(env, 1.5) as heartbeat:
        heartbeat.add(claim)  # type: ignore[arg-type]
        claim.expires = time.monotonic()
        await until(lambda: claim.lost.is_set() or bool(store.renewed))
    assert claim.lost.is_set()
    assert not store.renewed


@pytest.mark.parametrize("answer", [_never, _refuse])
async def test_a_claim_that_cannot_be_renewed_costs_no_other_claim_its_lease(answer: Any) -> None:
    store = Store(answer)
    stuck, others = Owned("stuck"), [Owned(f"fine-{n}") for n in range(6)]
    env: Any = SimpleNamespace(mode="separate", store=store)
    async with Heartbeat(env, 6.0) as heartbeat:
        for claim in (*others[:3], stuck, *others[3:]):
            heartbeat.add(claim)  # type: ignore[arg-type]
            claim.expires = time.monotonic() + 3.9  # due at the first look
        assert await asyncio.to_thread(stuck.lost.wait, PATIENCE)
        await until(lambda: len(store.renewed) == len(others))
        before = dict(store.renewed)
        await until(lambda: all(store.renewed[key] > count for key, count in before.items()))
    assert set(before) == {claim.name for claim in others}
    assert not any(claim.lost.is_set() for claim in others)


async def test_it_stops_at_once_although_a_renewal_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    asked = threading.Event()

    async def unanswered() -> None:
        asked.set()
        await _never()

    store, claim = Store(unanswered), Owned("stuck")
    env: Any = SimpleNamespace(mode="separate", store=store)
    async with Heartbeat(env, 90.0) as heartbeat:
        heartbeat.add(claim)  # type: ignore[arg-type]
        claim.expires = time.monotonic() + 45.0
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        stopped = time.monotonic()
    assert time.monotonic() - stopped < PATIENCE
    assert not claim.lost.is_set()
    assert not caplog.text
