"""The progress of one workflow, as rows: what is done, what runs, what remains."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .output import moment, say, table

if TYPE_CHECKING:
    from rich.table import Table

    from ..runtime.outcome import HistoryEntry, WorkflowStatus

HEADINGS = ("activity", "state", "attempt", "worker", "duration")
_DONE = {"do": {"ok": "completed", "fault": "failed"}, "undo": {"ok": "undone", "fault": "undo failed"}}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``duration`` in seconds, of the last attempt."""

    activity: str
    state: str
    attempt: int | None = None
    worker: str = ""
    duration: float | None = None

    def cells(self) -> tuple[str, ...]:
        """As text, in the order of ``HEADINGS``."""
        attempt = "" if self.attempt is None else str(self.attempt)
        duration = "" if self.duration is None else f"{self.duration:.2f} s"
        return self.activity, self.state, attempt, self.worker, duration


@dataclass
class Progress:
    """What is known of a workflow.

    :param planned: activities as dispatched; their step ids are ``"1"``, ``"2"``, ...
    """

    planned: Sequence[str]
    history: Sequence[HistoryEntry] = ()
    status: WorkflowStatus | None = None
    running_since: float | None = None

    def update(self, status: WorkflowStatus, history: Sequence[HistoryEntry]) -> list[Row]:
        """Take the news in; returns the rows of newly committed hops."""
        new = history[len(self.history) :]
        if status.state != "running":
            self.running_since = None
        elif self.status is None or (status.seq, status.attempt, "running") != self._hop():
            self.running_since = time.monotonic()
        self.status, self.history = status, history
        return [_committed(entry) for entry in new]

    def rows(self) -> list[Row]:
        """Committed hops, the current one, and what remains."""
        committed = [_committed(entry) for entry in self.history]
        done = {entry.step for entry in self.history}
        remaining = [name for position, name in enumerate(self.planned, 1) if str(position) not in done]
        if self._ended():
            return [*committed, *(Row(name, "not run") for name in remaining)]
        if self._undoing():
            return [*committed, self._current("undo"), *(Row(name, "not run") for name in remaining)]
        current = [self._current(remaining[0])] if remaining else []
        return [*committed, *current, *(Row(name, "pending") for name in remaining[1:])]

    def _ended(self) -> bool:
        return self.status is not None and self.status.state == "ended"

    def _undoing(self) -> bool:
        return any(entry.direction == "undo" or entry.status == "fault" for entry in self.history)

    def _hop(self) -> tuple[int, int, str] | None:
        return None if self.status is None else (self.status.seq, self.status.attempt, self.status.state)

    def _current(self, name: str) -> Row:
        status = self.status
        if status is None:
            return Row(name, "ready")
        took = None if self.running_since is None else time.monotonic() - self.running_since
        return Row(name, describe(status), status.attempt, duration=took)


def describe(status: WorkflowStatus) -> str:
    """The state in words."""
    if status.state == "ended":
        return status.outcome
    if status.state == "parked":
        return f"parked: {status.parked}"
    text = f"waiting until {moment(status.until)}" if status.state == "waiting" and status.until else status.state
    if status.state != "running" and status.consumers == 0:
        return f"{text}; nobody serves queue {status.queue!r}"
    return text


Tell: TypeAlias = "Callable[[WorkflowStatus, Sequence[HistoryEntry]], None]"


@contextmanager
def shown(progress: Progress, *, live: bool) -> Generator[Tell, None, None]:
    """Show ``progress`` on stderr while the context is open: as a table that changes, or a line per hop.

    Gives the function that takes news.
    """
    if live:
        with _live(progress) as tell:
            yield tell
        return

    def lines(status: WorkflowStatus, history: Sequence[HistoryEntry]) -> None:
        for row in progress.update(status, history):
            say("  ".join(cell for cell in row.cells() if cell))

    yield lines


@contextmanager
def _live(progress: Progress) -> Generator[Tell, None, None]:
    from rich.console import Console
    from rich.live import Live

    def render() -> Table:
        return table(HEADINGS, [row.cells() for row in progress.rows()])

    with Live(get_renderable=render, console=Console(stderr=True, highlight=False), refresh_per_second=10) as live:

        def tell(status: WorkflowStatus, history: Sequence[HistoryEntry]) -> None:
            progress.update(status, history)
            live.refresh()

        yield tell


def _committed(entry: HistoryEntry) -> Row:
    undo = "undo " if entry.direction == "undo" else ""
    state = _DONE.get(entry.direction, {}).get(entry.status, entry.status)
    duration = max(0.0, entry.finished - entry.started)
    return Row(f"{undo}{entry.activity}", state, entry.attempt, entry.worker, duration)
