"""Revision: an activity changes what remains, within what the dispatcher granted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paigeant import ActivityContext, ActivitySpec, ResultOf, RevisionPolicy, activity
from paigeant.model.events import ItineraryRevised

from ..support import NO_RETRY, Bed, Recorder

GRANT = RevisionPolicy(activities=["note", "reviser"], max_steps=6)


def reviser(change: Callable[[ActivityContext], None]) -> tuple[Any, Any, list[str]]:
    notes: list[str] = []

    @activity("reviser", retry=NO_RETRY)
    async def revise(ctx: ActivityContext) -> str:
        notes.append("reviser")
        change(ctx)
        return "from-reviser"

    @activity
    async def note(text: str) -> str:
        notes.append(text)
        return text

    return revise, note, notes


def said(text: Any, **options: Any) -> ActivitySpec:
    return ActivitySpec("note", {"text": text}, **options)


SLIP = [ActivitySpec("reviser", id="first"), said("b"), said("c")]

CHANGES: dict[str, tuple[Callable[[ActivityContext], None], list[str], tuple[str, ...]]] = {
    "insert": (lambda ctx: ctx.insert(said("x"), said("y")), ["x", "y", "b", "c"], ()),
    "append": (lambda ctx: ctx.append(said("x")), ["b", "c", "x"], ()),
    "both": (lambda ctx: (ctx.append(said("z")), ctx.insert(said("x")), None)[-1], ["x", "b", "c", "z"], ()),
    "replace": (lambda ctx: ctx.replace(said("x")), ["x"], ("note", "note")),
    "replace with nothing": (lambda ctx: ctx.replace(), [], ("note", "note")),
    "use the result": (lambda ctx: ctx.insert(said(ResultOf("first"))), ["from-reviser", "b", "c"], ()),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_within_the_grant(bed: Bed, change: str) -> None:
    act, expected, discarded = CHANGES[change]
    revise, note, notes = reviser(act)
    outcome = await bed.run(SLIP, revise, note, revisions=GRANT)
    assert outcome.status == "completed"
    assert notes == ["reviser", *expected]
    assert outcome.discarded == discarded


async def test_terminate_ends_without_compensation(stored: Bed) -> None:
    undone: list[int] = []

    @activity
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(what=1)

    @book.compensate
    async def unbook(what: int) -> None:
        undone.append(what)

    revise, note, notes = reviser(lambda ctx: ctx.terminate("enough"))
    slip = [ActivitySpec("book"), *SLIP]
    outcome = await stored.run(slip, book, revise, note, revisions=GRANT)
    assert outcome.status == "terminated"
    assert notes == ["reviser"]
    assert outcome.discarded == ("note", "note")
    assert not undone


async def test_a_reason_that_is_no_text_is_a_permanent_fault(memory: Bed) -> None:
    worker, _, _ = reviser(lambda ctx: ctx.terminate(5))  # type: ignore[arg-type]
    outcome = await memory.run([ActivitySpec("reviser")], worker, revisions=GRANT)
    assert outcome.fault is not None
    assert outcome.fault.error == "PermanentFault"
    assert "text, not 5" in outcome.fault.message


BEYOND: dict[str, tuple[Callable[[ActivityContext], None], RevisionPolicy | None, str]] = {
    "no grant": (lambda ctx: ctx.insert(said("x")), None, "granted no revision"),
    "no grant to end": (lambda ctx: ctx.terminate(), None, "granted no revision"),
    "another activity": (lambda ctx: ctx.insert(ActivitySpec("transfer-money")), GRANT, "transfer-money"),
    "too many": (lambda ctx: ctx.append(*(said("x") for _ in range(5))), GRANT, "at most 6"),
    "used id": (lambda ctx: ctx.insert(said("x", id="first")), GRANT, "first"),
    "pinned": (lambda ctx: ctx.replace(), GRANT, "pinned"),
    "other principal": (
        lambda ctx: ctx.append(said("x")),
        RevisionPolicy(["note"], 6, by=["nobody"]),
        "may not revise",
    ),
}


@pytest.mark.parametrize("beyond", BEYOND)
async def test_beyond_the_grant_is_a_permanent_fault_and_changes_nothing(bed: Bed, beyond: str) -> None:
    act, grant, text = BEYOND[beyond]
    revise, note, notes = reviser(act)
    slip = [SLIP[0], said("b", pin=True)]
    outcome = await bed.run(slip, revise, note, revisions=grant)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert outcome.fault.activity == "reviser"
    assert text in outcome.fault.message
    assert notes == ["reviser"]
    assert outcome.discarded == ()


async def test_a_revision_is_told_with_what_is_new_and_what_is_gone(bed: Bed) -> None:
    recorder = Recorder()
    revise, note, _ = reviser(lambda ctx: ctx.replace(said("x")))
    await bed.run(SLIP, revise, note, revisions=GRANT, worker={"observers": [recorder]})
    (event,) = recorder.of(ItineraryRevised)
    assert (event.inserted, event.discarded) == (("note",), ("note", "note"))


async def test_a_revision_of_a_failed_attempt_is_dropped(bed: Bed) -> None:
    def change(ctx: ActivityContext) -> None:
        ctx.append(said("half"))
        raise ValueError("no")

    revise, note, notes = reviser(change)
    assert (await bed.run(SLIP, revise, note, revisions=GRANT)).status == "failed"
    assert notes == ["reviser"]


async def test_a_compensation_cannot_revise(stored: Bed) -> None:
    @activity(retry=NO_RETRY)
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation()
        raise ValueError

    @book.compensate
    async def unbook(ctx: ActivityContext) -> None:
        ctx.terminate()

    outcome = await stored.run([ActivitySpec("book")], book, revisions=GRANT)
    assert outcome.status == "compensation_failed"


async def test_a_planner_may_revise_again_and_again_but_not_for_ever(bed: Bed) -> None:
    revise, note, notes = reviser(lambda ctx: ctx.insert(ActivitySpec("reviser")))
    outcome = await bed.run([ActivitySpec("reviser")], revise, note, revisions=GRANT)
    assert outcome.status == "failed"
    assert outcome.fault is not None
    assert "at most 6" in outcome.fault.message
    assert len(notes) == 6
