"""The rows of the live table, without a terminal."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from paigeant import HistoryEntry, WorkflowClient, WorkflowStatus, get_transport
from paigeant.cli.following import ended
from paigeant.cli.logs import JsonFormatter, TextFormatter
from paigeant.cli.output import printable
from paigeant.cli.progress import Progress, describe
from paigeant.errors import BackendUnavailable

from .conftest import Commands


def entry(seq: int, activity: str, *, direction: str = "do", status: str = "ok") -> HistoryEntry:
    return HistoryEntry(seq, str(seq + 1), activity, direction, status, 2, "w", 10.0, 10.5)


def status(state: str, **more: Any) -> WorkflowStatus:
    return WorkflowStatus("wf", state, more.pop("seq", 0), 1, **more)


def states(progress: Progress) -> list[tuple[str, str]]:
    return [(row.activity, row.state) for row in progress.rows()]


def test_what_is_done_what_runs_and_what_remains() -> None:
    progress = Progress(["a", "b", "c"])
    assert states(progress) == [("a", "ready"), ("b", "pending"), ("c", "pending")]
    new = progress.update(status("running", seq=1), [entry(0, "a")])
    assert [row.cells() for row in new] == [("a", "completed", "2", "w", "0.50 s")]
    assert states(progress) == [("a", "completed"), ("b", "running"), ("c", "pending")]
    assert progress.rows()[1].duration is not None
    assert progress.update(status("running", seq=2), [entry(0, "a"), entry(1, "b")]) == [progress.rows()[1]]


def test_a_failure_is_undone_and_the_rest_is_not_run() -> None:
    progress = Progress(["a", "b", "c"])
    history = [entry(0, "a"), entry(1, "b", status="fault")]
    progress.update(status("ready", seq=2), history)
    assert states(progress) == [("a", "completed"), ("b", "failed"), ("undo", "ready"), ("c", "not run")]
    history.append(HistoryEntry(2, "1", "a", "undo", "ok", 1, "w", 1.0, 0.5))
    progress.update(status("ended", outcome="compensated"), history)
    assert states(progress) == [("a", "completed"), ("b", "failed"), ("undo a", "undone"), ("c", "not run")]
    assert progress.rows()[2].duration == 0.0, "a clock that went back"


def test_activities_that_a_revision_inserted_are_shown_once_done() -> None:
    progress = Progress(["a", "b"])
    inserted = HistoryEntry(1, "r1.1", "new", "do", "ok", 1, "w", 1.0, 2.0)
    progress.update(status("ready", seq=2), [entry(0, "a"), inserted])
    assert states(progress) == [("a", "completed"), ("new", "completed"), ("b", "ready")]


class LostClient(WorkflowClient):
    """Its backend is gone after the first answer."""

    async def watch(self, correlation_id: str) -> AsyncGenerator[WorkflowStatus, None]:
        yield status("ready")
        raise BackendUnavailable("gone")


async def test_a_backend_that_goes_away_is_no_end_of_the_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendUnavailable):
        await ended(LostClient(get_transport("inmemory")), "wf-1", 30.0)
    assert capsys.readouterr().err == "the workflow goes on: paigeant workflows result wf-1\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (status("ended", outcome="failed"), "failed"),
        (status("parked", parked="poison"), "parked: poison"),
        (status("ready", queue="q", consumers=0), "ready; nobody serves queue 'q'"),
        (status("ready", queue="q", consumers=None), "ready"),
        (status("ready", queue="q", consumers=2), "ready"),
        (status("running", queue="q", consumers=0), "running"),
        (status("waiting", until=86_400.0), "waiting until 1970-01-02T00:00:00+00:00"),
        (status("waiting", until=0.5, consumers=0), "waiting until 1970-01-01T00:00:00+00:00; nobody serves queue ''"),
    ],
)
def test_states_in_words(given: WorkflowStatus, words: str) -> None:
    assert describe(given) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é 漢", "plain é 漢"), ("\x1b[2J", "\\x1b[2J"), ("a\nb\t\x9b", "a\\nb\\t\\x9b"), ("\u202ex", "\\u202ex")],
)
def test_text_from_outside_cannot_steer_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def hostile() -> logging.LogRecord:
    """Message, error and fact are from outside."""
    text = "\n2026 INFO\r forged\x1b[31m"
    try:
        raise ValueError(text)
    except ValueError:
        record = logging.LogRecord("x", logging.INFO, "f", 1, "one %s", (text,), sys.exc_info())
    record.__dict__["workflow"] = "wf\nforged"
    return record


def test_a_json_log_is_one_line() -> None:
    line = JsonFormatter().format(hostile())
    assert line.isprintable()
    assert "wf" in line


def test_further_lines_of_a_text_log_are_indented_and_harmless() -> None:
    first, *further = TextFormatter().format(hostile()).split("\n")
    assert first.endswith("one   workflow=wf\\nforged")
    assert [line for line in further if "forged" in line] == ["    2026 INFO\\r forged\\x1b[31m"] * 2
    assert all(line.startswith("    ") and line.isprintable() for line in further)


def test_a_stack_in_a_message_is_readable() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "it blocks\n%s", ('  File "a.py"\n    sleep()\n',), None)
    assert TextFormatter().format(record).endswith('it blocks\n      File "a.py"\n        sleep()')


def test_a_log_line_shows_the_error() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "oops", (), sys.exc_info())
    assert "ValueError: broken" in TextFormatter().format(record)
    assert "ValueError: broken" in JsonFormatter().format(record)


def test_on_a_terminal_the_table_is_live(paigeant: Commands) -> None:
    paigeant.start("worker", "app")
    command = ["dispatch", "validate-input", "notify", "--var", "email=A@B.c", "--wait", "--timeout", "30"]
    command += ["--result", "notify.tag=validate-input/tags/1"]
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "paigeant", *command],
            cwd=paigeant.directory,
            env={**paigeant.env, "TERM": "xterm", "COLUMNS": "120"},
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        out, _ = process.communicate(timeout=60)
        screen = os.read(ours, 1_000_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0
    assert "sent to A@B.c shiny 0" in out
    for heading in ("activity", "state", "attempt", "worker", "duration"):
        assert heading in screen
    last = [line for line in screen.splitlines() if "notify" in line][-1]
    assert last.split()[-5:-3] == ["completed", "1"]
