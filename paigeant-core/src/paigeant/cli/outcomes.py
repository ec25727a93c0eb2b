"""Shows how a workflow ended."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import typer

from .output import printable, show_table

if TYPE_CHECKING:
    from ..runtime.outcome import Outcome


def exit_code(outcome: Outcome) -> int:
    """0 for ``completed``, else 1."""
    return 0 if outcome.status == "completed" else 1


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """All that is known."""
    return {field.name: _plain(getattr(outcome, field.name)) for field in dataclasses.fields(outcome)}


def show_outcome(outcome: Outcome) -> None:
    """The end in one line, then results and what was undone."""
    colour = "green" if outcome.status == "completed" else "red"
    typer.secho(printable(outcome), fg=colour)
    for what, names in (
        ("undone", outcome.undone),
        ("undo failed", outcome.undo_failed),
        ("not undone", outcome.not_undone),
        ("discarded", outcome.discarded),
    ):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")
    if outcome.results:
        show_table(("step", "result"), [(name, value_text(value)) for name, value in outcome.results.items()])


def value_text(value: object) -> str:
    """A plain value, as JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
