"""Compensation: last first, durable before the effect, with its own retries, always with an end."""

from __future__ import annotations

from typing import Any

import pytest

from paigeant import ActivityContext, ActivitySpec, PermanentFault, activity
from paigeant.model.events import ActivityFaulted

from ..support import NO_RETRY, QUICK, Bed, Recorder, until


class Journey:
    """Three bookings that are undone; ``broken`` names those whose undo fails for good."""

    def __init__(self, *broken: str) -> None:
        self.undone: list[Any] = []
        self.broken = set(broken)
        self.activities = [self._booking(name) for name in ("hotel", "flight", "car")]

    def _booking(self, name: str) -> Any:
        @activity(name, retry=NO_RETRY)
        async def book(ctx: ActivityContext, fail: bool = False) -> str:
            await ctx.register_compensation(what=f"{name}-1")
            await ctx.register_compensation(what=f"{name}-2")
            if fail:
                raise PermanentFault(f"{name} is full")
            return name

        @book.compensate
        async def unbook(what: str) -> None:
            if name in self.broken:
                raise PermanentFault(f"{name} cannot be cancelled")
            self.undone.append(what)

        return book

    @staticmethod
    def slip(**choices: Any) -> list[ActivitySpec]:
        last = ActivitySpec("car", {"fail": True})
        return [ActivitySpec("hotel", **choices), ActivitySpec("flight", **choices), last, ActivitySpec("never")]


async def test_it_is_last_first_and_includes_the_faulting_step(stored: Bed) -> None:
    journey = Journey()
    outcome = await stored.run(journey.slip(), *journey.activities)
    assert outcome.status == "compensated"
    assert journey.undone == ["car-2", "car-1", "flight-2", "flight-1", "hotel-2", "hotel-1"]
    assert outcome.undone == ("car", "flight", "hotel")
    assert outcome.fault is not None
    assert outcome.fault.activity == "car"
    assert (outcome.undo_failed, outcome.not_undone) == ((), ())


async def test_no_undo_of_a_step_is_told_to_stop_because_another_is_done(stored: Bed) -> None:
    undone: list[tuple[int, bool]] = []

    @activity(retry=NO_RETRY)
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(what=1)
        await ctx.register_compensation(what=2)
        raise PermanentFault("full")

    @book.compensate
    def unbook(ctx: ActivityContext, what: int) -> None:
        undone.append((what, ctx.cancelled))

    assert (await stored.run([ActivitySpec("book")], book)).status == "compensated"
    assert undone == [(2, False), (1, False)]


@pytest.mark.parametrize("value", [object(), "\ud800"], ids=["object", "surrogate"])
async def test_what_cannot_be_registered_is_named(stored: Bed, value: Any) -> None:
    @activity(retry=NO_RETRY)
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(what="a", bad=value)

    @book.compensate
    async def unbook(what: str, bad: Any) -> None: ...

    outcome = await stored.run([ActivitySpec("book")], book)
    assert outcome.fault is not None
    assert outcome.fault.error == "SerializationError"
    assert "argument 'bad' of the compensation of activity 'book'" in outcome.fault.message


async def test_what_a_completed_workflow_registered_is_not_called_undone(stored: Bed) -> None:
    journey = Journey()
    outcome = await stored.run([ActivitySpec("hotel"), ActivitySpec("flight")], *journey.activities)
    assert outcome.status == "completed"
    assert (outcome.undone, outcome.undo_failed, outcome.not_undone) == ((), (), ())


@pytest.mark.parametrize(
    ("choice", "undone", "failed", "left"),
    [
        ("halt", ("car",), ("flight",), ("hotel",)),
        (None, ("car",), ("flight",), ("hotel",)),
        ("continue", ("car", "hotel"), ("flight",), ()),
    ],
)
async def test_a_failing_undo_halts_or_continues_and_everything_is_named(
    stored: Bed, choice: Any, undone: tuple[str, ...], failed: tuple[str, ...], left: tuple[str, ...]
) -> None:
    journey, recorder = Journey("flight"), Recorder()
    slip = journey.slip(on_undo_failure=choice)
    outcome = await stored.run(slip, *journey.activities, worker={"observers": [recorder]})
    assert outcome.status == "compensation_failed"
    assert (outcome.undone, outcome.undo_failed, outcome.not_undone) == (undone, failed, left)
    assert [(event.activity, event.direction) for event in recorder.of(ActivityFaulted)] == [
        ("car", "do"),
        ("flight", "undo"),
    ]


async def test_a_failing_undo_parks_and_goes_on_once_resumed(stored: Bed) -> None:
    journey = Journey("flight")
    workflow = await stored.dispatch(journey.slip(on_undo_failure="park"))
    async with stored.worker(*journey.activities), stored.client() as client:

        async def parked() -> bool:
            return (await client.status(workflow)).state == "parked"

        await until(parked)
        assert [status.correlation_id for status in await client.parked()] == [workflow]
        assert "flight cannot be cancelled" in (await client.parked())[0].parked
        journey.broken.clear()
        await client.resume(workflow)
        outcome = await client.outcome(workflow, timeout=10)
        assert await client.parked() == []
    assert outcome.status == "compensated"
    assert journey.undone == ["car-2", "car-1", "flight-2", "flight-1", "hotel-2", "hotel-1"]


async def test_an_undo_has_its_own_attempts_and_its_own_key(stored: Bed) -> None:
    keys: list[tuple[str, int, str]] = []

    @activity(retry=QUICK)
    async def book(ctx: ActivityContext) -> None:
        keys.append((ctx.direction, ctx.attempt, ctx.idempotency_key))
        await ctx.register_compensation(what=1)
        raise ValueError("full")

    @book.compensate
    async def unbook(ctx: ActivityContext, what: int) -> None:
        keys.append((ctx.direction, ctx.attempt, ctx.idempotency_key))
        if ctx.attempt < 3:
            raise ValueError("not yet")

    assert (await stored.run([ActivitySpec("book")], book)).status == "compensated"
    assert [(direction, attempt) for direction, attempt, _ in keys] == [
        *(("do", attempt) for attempt in (1, 2, 3)),
        *(("undo", attempt) for attempt in (1, 2, 3)),
    ]
    assert len({key for _, _, key in keys}) == 2


async def test_registrations_of_all_attempts_are_kept_and_repeats_are_one(stored: Bed) -> None:
    undone: list[int] = []

    @activity(retry=QUICK)
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(what=0)
        await ctx.register_compensation(what=ctx.attempt)
        raise ValueError("full")

    @book.compensate
    async def unbook(what: int) -> None:
        undone.append(what)

    assert (await stored.run([ActivitySpec("book")], book)).status == "compensated"
    assert undone == [3, 2, 1, 0]


async def test_data_that_the_handler_does_not_take_is_refused_before_the_effect(stored: Bed) -> None:
    effects: list[int] = []

    @activity
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(whot=1)
        effects.append(1)

    @book.compensate
    async def unbook(what: int) -> None: ...

    outcome = await stored.run([ActivitySpec("book")], book)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "what" in outcome.fault.message
    assert not effects


async def test_a_large_registration_is_stored_aside_even_if_the_result_is_refused(stored: Bed) -> None:
    undone: list[int] = []

    @activity(retry=NO_RETRY)
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(what="x" * 100_000)
        for number in range(6):
            ctx.variables[f"v{number}"] = str(number) * 60_000

    @book.compensate
    async def unbook(what: str) -> None:
        undone.append(len(what))

    outcome = await stored.run([ActivitySpec("book")], book)
    assert outcome.status == "compensated"
    assert outcome.fault is not None
    assert outcome.fault.error == "MessageTooLarge"
    assert "'book'" in outcome.fault.message
    assert undone == [100_000]


async def test_it_needs_a_store_and_says_so(storeless: Bed) -> None:
    effects: list[int] = []

    @activity
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(what=1)
        effects.append(1)

    @book.compensate
    async def unbook(what: int) -> None: ...

    outcome = await storeless.run([ActivitySpec("book")], book)
    assert outcome.fault is not None
    assert outcome.fault.error == "StoreRequired"
    assert "PAIGEANT_STATE_STORE" in outcome.fault.message
    assert not effects


async def test_after_the_pivot_nothing_is_undone_and_only_retrying_goes_on(stored: Bed) -> None:
    journey = Journey()

    @activity(retry=NO_RETRY)
    async def after(ctx: ActivityContext) -> None:
        if not journey.undone and ctx.variables["stuck"]:
            raise PermanentFault("stuck")

    slip = [ActivitySpec("hotel"), ActivitySpec("flight", pivot=True), ActivitySpec("after")]
    workflow = await stored.dispatch(slip, variables={"stuck": True})
    async with stored.worker(*journey.activities, after), stored.client() as client:

        async def parked() -> bool:
            return (await client.status(workflow)).state == "parked"

        await until(parked)
        journey.undone.append("mended")
        await client.resume(workflow)
        assert (await client.outcome(workflow, timeout=10)).status == "completed"
    assert journey.undone == ["mended"]
    assert await stored.steps(workflow) == [("hotel", "do", "ok"), ("flight", "do", "ok"), ("after", "do", "ok")]
