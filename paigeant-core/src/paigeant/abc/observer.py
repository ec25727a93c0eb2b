"""The observer contract."""

from __future__ import annotations

from typing import Protocol

from ..model.events import WorkflowEvent


class Observer(Protocol):
    """Is told what happened, at least once per fact. May fail or be slow; workflows do not notice."""

    async def on_event(self, event: WorkflowEvent) -> None: ...
