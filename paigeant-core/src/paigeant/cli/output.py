"""What commands print: results on stdout, everything said beside them on stderr."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import typer

from ..errors import PaigeantWarning

if TYPE_CHECKING:
    from rich.table import Table

UNBOUNDED = 10_000
"""Columns where nobody looks at a screen: what is piped is never wrapped or cut."""


def printable(value: object) -> str:
    """Text that cannot move the cursor or hide itself: what came from a broker is shown, not obeyed."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def say(text: str) -> None:
    """A line on stderr."""
    typer.echo(text, err=True)


def warn(text: str) -> None:
    """A yellow line on stderr."""
    typer.secho(f"warning: {printable(text)}", fg="yellow", err=True)


def complain(text: str) -> None:
    """A red line on stderr."""
    typer.secho(f"error: {printable(text)}", fg="red", err=True)


def show_json(value: object) -> None:
    """One JSON document on stdout; ASCII, so that no terminal obeys what is in it."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(value, indent=indent, default=_plain))


def show_table(headings: Sequence[str], rows: Iterable[Sequence[object]], styles: Sequence[str] = ()) -> None:
    """A table on stdout.

    :param styles: of each row; none by default.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else UNBOUNDED, highlight=False)
    console.print(table(headings, rows, styles))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], styles: Sequence[str] = ()) -> Table:
    """A plain table; cells are text, never markup, and are folded rather than cut."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for position, row in enumerate(rows):
        made.add_row(*(Text(printable(cell)) for cell in row), style=styles[position] if styles else None)
    return made


def count(value: int | None) -> str:
    """A number, or ``?`` where the backend cannot tell."""
    return "?" if value is None else str(value)


def moment(seconds: float) -> str:
    """A time since the epoch, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "unknown"


def install_warnings() -> None:
    """Show Paigeant's own warnings as one line, without the place in the code that raised them."""
    default = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, PaigeantWarning):
            warn(str(message))
        else:
            default(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def escape_unprintable() -> None:
    """Show characters that the terminal's encoding lacks as escapes, in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
