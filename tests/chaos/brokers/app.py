"""The worker that is killed, frozen and cut off: ``python -m tests.chaos.brokers.app``.

Transport, store, lease and so on come from ``PAIGEANT_*``, as for any worker; ``STORM_*`` says where the ledger is,
how long a step takes, and how soon a message counts as lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Mapping
from pathlib import Path

from paigeant import ActivityContext, ActivitySpec, ResultOf, Worker, activity, get_transport
from paigeant.model.events import WorkflowEnded, WorkflowEvent

from .ledger import Book

STEPS = ("first", "second", "third")
MULTIPLIER, OFFSET = 3, 7


def itinerary(number: int) -> list[ActivitySpec]:
    """Each step needs the result of the one before it."""
    return [
        ActivitySpec("first", {"number": number}),
        ActivitySpec("second", {"number": ResultOf("first")}),
        ActivitySpec("third", {"number": ResultOf("second")}),
    ]


def expected(number: int) -> int:
    """The result of the last step."""
    return (number + 1) * MULTIPLIER - OFFSET


def hurry(environment: Mapping[str, str]) -> None:
    """A message counts as lost after ``STORM_RESEND`` seconds instead of thirty."""
    from paigeant.state import transitions

    transitions.RESEND_AFTER = float(environment["STORM_RESEND"])  # type: ignore[misc]


class Ends:
    """Writes down that a worker ended a workflow."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def on_event(self, event: WorkflowEvent) -> None:
        if isinstance(event, WorkflowEnded):
            self._book.ended(event.workflow, event.id, event.status)


def serve(environment: Mapping[str, str]) -> None:
    book, pace = Book(Path(environment["STORM_LEDGER"])), float(environment["STORM_PACE"])

    async def step(ctx: ActivityContext) -> None:
        book.started(ctx.correlation_id, ctx.activity)
        await asyncio.sleep(pace * random.uniform(0.5, 1.5))
        book.finished(ctx.correlation_id, ctx.activity)
        ctx.variables[ctx.activity] = ctx.variables.get(ctx.activity, 0) + 1

    @activity
    async def first(ctx: ActivityContext, number: int) -> int:
        await step(ctx)
        return number + 1

    @activity
    async def second(ctx: ActivityContext, number: int) -> int:
        await step(ctx)
        return number * MULTIPLIER

    @activity
    async def third(ctx: ActivityContext, number: int) -> int:
        await step(ctx)
        return number - OFFSET

    Worker(get_transport(), [first, second, third], observers=[Ends(book)]).run_sync()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    hurry(os.environ)
    serve(os.environ)
