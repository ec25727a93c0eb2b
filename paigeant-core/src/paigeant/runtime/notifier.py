"""Tells observers. They may fail or be slow; the workflow does not notice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..abc import Observer
from ..model.events import WorkflowEvent
from ..state.ids import digest_of

if TYPE_CHECKING:
    from ..abc import Clock

log = logging.getLogger("paigeant.runtime")

PATIENCE = 1.0
"""Seconds an observer may hold up a commit."""


def event_id(hop_id: str, kind: type, gen: int) -> str:
    """The same for the same fact, whoever tells it and however often.

    :param gen: of the cursor; 0 for what can happen but once in a hop.
    """
    return digest_of("event", hop_id, kind.__name__, gen)


class Notifier:
    """Facts are told *before* the commit that makes them durable, so a crash between repeats the telling
    and never loses it: at least once, by id. The record decides what is true. Only a dispatch, which may be
    refused, is told once it was accepted."""

    def __init__(self, observers: Sequence[Observer], clock: Clock) -> None:
        self._observers, self._clock = tuple(observers), clock

    def __bool__(self) -> bool:
        return bool(self._observers)

    async def tell(self, event: WorkflowEvent) -> None:
        """Tell all observers at once; at most one second, no exception."""
        if not self._observers:
            return
        telling = (self._tell(observer, event) for observer in self._observers)
        # Exceptions are gathered, so that a CancelledError of an observer's own is no cancellation of ours.
        for observer, end in zip(self._observers, await asyncio.gather(*telling, return_exceptions=True), strict=True):
            if end is not None:
                log.warning("observer %s failed on %s: %r", type(observer).__name__, type(event).__name__, end)

    async def _tell(self, observer: Observer, event: WorkflowEvent) -> None:
        async with self._clock.timeout(PATIENCE):
            await observer.on_event(event)
