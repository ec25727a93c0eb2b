"""What holds for every command: help, errors, warnings, a missing extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from .conftest import Commands, InProcess

COMMANDS = [
    ["worker"],
    ["dispatch"],
    ["plugins"],
    ["queues"],
    ["doctor"],
    ["new-plugin"],
    ["dead-letters", "list"],
    ["dead-letters", "show"],
    ["dead-letters", "replay"],
    ["dead-letters", "purge"],
    ["workflows", "status"],
    ["workflows", "history"],
    ["workflows", "result"],
    ["workflows", "parked"],
    ["workflows", "resume"],
    ["keys", "init"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_json(cli: InProcess, command: list[str]) -> None:
    done = cli(*command, "--help")
    assert done.code == 0
    assert "--json" in done.out


def test_the_list_of_commands_is_complete(cli: InProcess) -> None:
    assert {command[0] for command in COMMANDS} == {
        *("worker", "dispatch", "plugins", "queues", "doctor", "new-plugin", "dead-letters", "workflows", "keys")
    }
    for group in ("dead-letters", "workflows", "keys", ""):
        shown = cli(*([group] if group else []), "--help").out
        known = {command[-1] if group else command[0] for command in COMMANDS if not group or command[0] == group}
        listed = {line.split()[1] for line in shown.partition("Commands")[2].splitlines()[1:] if line[2:3].isalpha()}
        assert listed == known


def test_debug_shows_the_traceback(cli: InProcess) -> None:
    done = cli("--debug", "workflows", "status", "wf-0")
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("error: no workflow")


def test_wrong_settings_are_one_line(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_CONCURRENCY", "many")
    done = cli("queues")
    assert done.code == 2
    assert "PAIGEANT_CONCURRENCY" in done.err
    assert len(done.err.splitlines()) == 1


def test_unknown_settings_are_a_warning_in_one_line(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_CONCURENCY", "3")
    code = "import sys; from paigeant.__main__ import main; sys.exit(main(['queues', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout) == []
    assert done.stderr.startswith("warning: unknown settings are ignored: PAIGEANT_CONCURENCY")
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_without_the_characters_is_shown_escapes(paigeant: Commands) -> None:
    done = paigeant("doctor", PYTHONIOENCODING="ascii", PAIGEANT_SQLITE_PATH="aufträge.db")
    assert done.code == 0, done.err
    assert "auftr\\xe4ge.db" in done.out


def test_ctrl_c_while_modules_are_imported_ends_without_a_word(paigeant: Commands) -> None:
    """As if it came in the middle of the first import."""
    (paigeant.directory / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    done = paigeant("queues")
    assert (done.code, done.out, done.err) == (130, "", "")


@pytest.mark.parametrize("command", [["plugins"], ["plugins", "--json"], ["--help"], ["keys", "init", "--path", "k"]])
def test_a_reader_that_leaves_is_not_worth_a_word(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "paigeant", *command],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "Error" not in done.stderr
    assert "Exception" not in done.stderr


def test_help_does_not_wait_for_the_library() -> None:
    code = (
        "import sys\nfrom paigeant.__main__ import main\nmain(['--help'])\n"
        "print([name for name in ('sqlite3', 'pluggy', 'pydantic_settings', 'pydantic_ai', 'paigeant.runtime.worker')"
        " if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_sentence_says_what_to_install(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from paigeant.__main__ import main; sys.exit(main(['plugins']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith('pip install "paigeant-core[cli]"\n')
    assert len(done.stderr.splitlines()) == 1
