"""Every command that does not stay, run in this process on a SQLite file of the test."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from paigeant import (
    ActivityContext,
    ActivitySpec,
    PermanentFault,
    ResultOf,
    RetryPolicy,
    Worker,
    WorkflowDispatcher,
    WorkflowError,
    activity,
    get_transport,
)
from paigeant.abc import Transport
from paigeant.cli.dispatch import follow
from paigeant.envelope import CONTENT_TYPE
from paigeant.model.message import Message, Publication

from .conftest import InProcess

EVIL = "\x1b]0;owned\x07\u202e"


@activity("double")
async def double(n: int) -> dict[str, list[int]]:
    return {"values": [n * 2]}


@activity("undoable")
async def undoable(ctx: ActivityContext) -> str:
    await ctx.register_compensation(what="it")
    return EVIL


@undoable.compensate
async def undo(what: str) -> None: ...


@activity("fail", retry=RetryPolicy(attempts=1))
async def fail() -> None:
    raise PermanentFault(f"no {EVIL}")


ALL = [double, undoable, fail]


def served(work: Callable[[Transport], Coroutine[Any, Any, Any]] | None = None) -> Any:
    """Run a worker of this process until what was dispatched has ended (or ``work`` returns)."""

    async def main() -> Any:
        async with get_transport() as transport, Worker(transport, ALL):
            return await (work or _idle)(transport)

    return asyncio.run(main())


async def _idle(transport: Transport) -> None:
    while any(stats.ready or stats.in_flight for name, stats in (await transport.queues()).items() if "." not in name):
        await asyncio.sleep(0.01)


def dispatched(*specs: ActivitySpec, **options: Any) -> str:
    async def main() -> str:
        async with get_transport() as transport, WorkflowDispatcher(transport) as dispatcher:
            return await dispatcher.dispatch_workflow(specs, **options)

    return asyncio.run(main())


def test_dispatch_takes_variables_arguments_and_results(cli: InProcess) -> None:
    done = cli(
        *("dispatch", "double", "double", "double", "--id", "wf-1", "--expires", "1h", "--json"),
        *("--var", "text=a=b", "--var", "n:=3", "--arg", "2.n:=5", "--result", "3.n=double/values/0"),
    )
    assert done.code == 0
    assert done.json == {"correlation_id": "wf-1", "unserved": ["double"]}
    assert "nobody serves queue 'double'" in done.err
    assert str(Path.cwd() / ".paigeant" / "default.db") in done.err
    served()
    result = cli("workflows", "result", "wf-1", "--timeout", "20", "--json")
    assert result.json["results"] == {"double": {"values": [20]}}
    assert result.json["variables"] == {"text": "a=b", "n": 3}


def test_dispatch_again_is_the_same_workflow_and_other_content_is_not(cli: InProcess) -> None:
    first = cli("dispatch", "double", "--id", "wf-1")
    assert first.out == "wf-1\n"
    assert cli("dispatch", "double", "--id", "wf-1").code == 0
    other = cli("dispatch", "fail", "--id", "wf-1")
    assert other.code == 1
    assert other.err.splitlines()[-1].startswith("error: correlation id 'wf-1'")
    assert cli("queues", "double", "--json").json[0]["ready"] == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["Not-A-Name"], "Not-A-Name"),
        (["a", "--var", "x"], "--var 'x': expected name=text"),
        (["a", "--var", "=x"], "expected name=text"),
        (["a", "--var", ":=1"], "expected name=text"),
        (["a", "--var", "x:={"], "is not JSON"),
        (["a", "--var", "x:=NaN"], "is not JSON"),
        (["a", "--var", "x:=" + "[" * 5000], "is not JSON"),
        (["a", "--var", "x=1", "--var", "x:=1"], "given twice"),
        (["a", "--arg", "x=1"], "activity.parameter"),
        (["a", "--arg", "b.x=1"], "no activity 'b'"),
        (["a", "--arg", "2.x=1"], "no activity '2'"),
        (["a", "--arg", "0.x=1"], "no activity '0'"),
        (["a", "--arg", "a.x=1", "--arg", "1.x=1"], "given twice"),
        (["a", "b", "--result", "b.x="], "expected activity.parameter=earlier-activity"),
        (["a", "b", "--result", "b.x:=1"], "expected activity.parameter=earlier-activity"),
        (["a", "b", "--result", "a.x=b"], "'b'"),
        (["a", "--expires", "never"], "--expires 'never'"),
        (["a", "--timeout", "0"], "--timeout '0'"),
        (["a", "--id", "not ok"], "correlation id 'not ok'"),
        (["a", "--nonsense"], "nonsense"),
        ([], "ACTIVITIES"),
    ],
)
def test_a_wrong_dispatch_is_refused_before_anything_is_sent(cli: InProcess, arguments: list[str], part: str) -> None:
    done = cli("dispatch", *arguments)
    assert done.code == 2
    assert part in done.err
    assert done.out == ""
    assert cli("queues", "--json").json == []


def test_waiting_shows_each_step_and_the_end(cli: InProcess) -> None:
    async def work(transport: Transport) -> Any:
        return await asyncio.to_thread(cli, "dispatch", "double", "--arg", "double.n:=4", "--wait", "--timeout", "20")

    done = served(work)
    assert done.code == 0
    assert "is completed" in done.out
    assert 'double  {"values": [8]}' in done.out
    assert "double  completed  1" in done.err


def test_a_failed_workflow_is_exit_code_1_with_the_reason(cli: InProcess) -> None:
    async def work(transport: Transport) -> Any:
        command = ["dispatch", "undoable", "fail", "double", "--wait", "--timeout", "20"]
        return (
            await asyncio.to_thread(cli, *command, "--id", "a"),
            await asyncio.to_thread(cli, *command, "--id", "b", "--json"),
        )

    people, machine = served(work)
    assert people.code == machine.code == 1
    assert "'fail'" in people.out
    assert "undone: undoable" in people.out
    assert "undo undoable  undone" in people.err
    assert "\x1b" not in people.out + people.err + machine.out + machine.err
    assert "\u202e" not in people.out + machine.out
    assert machine.json["status"] == "compensated"
    assert machine.json["undone"] == ["undoable"]
    assert machine.json["fault"]["error"] == "PermanentFault"
    history = cli("workflows", "history", "a")
    assert [line.split()[:3] for line in history.out.splitlines()[1:]] == [
        ["undoable", "completed", "1"],
        ["fail", "failed", "1"],
        ["undo", "undoable", "undone"],
    ]


def test_a_timeout_says_that_the_workflow_goes_on(cli: InProcess) -> None:
    for command in (["dispatch", "double", "--id", "wf-1"], ["workflows", "result", "wf-1"]):
        done = cli(*command, "--timeout", "50ms")
        assert done.code == 1
        assert "it goes on" in done.err.splitlines()[-1]
    status = cli("workflows", "status", "wf-1")
    assert "nobody serves queue 'double'" in status.out


def test_parked_and_resume(cli: InProcess) -> None:
    dispatched(ActivitySpec("fail", exhausted="park"), correlation_id="wf-1")
    assert cli("workflows", "parked").err == "no workflow is parked\n"
    served(lambda transport: until_parked(cli))
    status = cli("workflows", "status", "wf-1")
    assert "paigeant workflows resume wf-1" in status.out
    listed = cli("workflows", "parked", "--json")
    assert [one["correlation_id"] for one in listed.json] == ["wf-1"]
    assert "wf-1" in cli("workflows", "parked").out
    assert cli("workflows", "resume", "wf-1").code == 0
    assert cli("workflows", "status", "wf-1", "--json").json["state"] == "ready"
    again = cli("workflows", "resume", "wf-1")
    assert again.code == 1
    assert "is not parked" in again.err


async def until_parked(cli: InProcess) -> None:
    while not (await asyncio.to_thread(cli, "workflows", "parked", "--json")).json:
        await asyncio.sleep(0.02)


def test_waiting_for_a_parked_workflow_ends_with_what_to_do(cli: InProcess) -> None:
    """Exit code 1 rather than a wait without end."""
    spec = ActivitySpec("fail", exhausted="park")
    dispatched(spec, correlation_id="wf-1")

    async def work(transport: Transport) -> None:
        with pytest.raises(WorkflowError, match=r"is parked .* paigeant workflows resume wf-1"):
            await follow(transport, "wf-1", [spec], timeout=20, live=False)

    served(work)


@pytest.mark.parametrize("command", ["status", "history", "result", "resume"])
def test_an_unknown_workflow_is_one_red_line(cli: InProcess, command: str) -> None:
    done = cli("workflows", command, "wf-0")
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("error: no workflow 'wf-0'")
    assert len(done.err.splitlines()) == 1


def test_queues(cli: InProcess) -> None:
    empty = cli("queues")
    assert (empty.code, empty.out) == (0, "")
    assert "no queues yet in " in empty.err
    dispatched(ActivitySpec("double"))
    people = cli("queues")
    assert people.out.split("\n")[1].split() == ["double", "1", "0", "0", "0"]
    assert "nobody serves queue 'double'" in people.err
    machine = cli("queues", "double", "other", "--json")
    assert [(one["queue"], one["ready"], one["unserved"]) for one in machine.json] == [
        ("double", 1, True),
        ("other", 0, False),
    ]

    async def work(transport: Transport) -> Any:
        return await asyncio.to_thread(cli, "queues", "double", "--json")

    assert served(work).json[0]["consumers"] == 1


def refuse(*bodies: bytes, headers: dict[str, str] | None = None) -> None:
    """Let a worker refuse these messages."""

    async def work(transport: Transport) -> None:
        for number, body in enumerate(bodies):
            await transport.publish(Publication("double", Message(f"m{number}", body, headers or {})))
        while (await transport.queues("double.dead"))["double.dead"].ready < len(bodies):
            await asyncio.sleep(0.01)

    served(work)


def test_dead_letters_are_listed_and_shown_without_values(cli: InProcess) -> None:
    assert cli("dead-letters", "list").err == "no dead letters\n"
    refuse(b"secret " + EVIL.encode(), headers={"x": EVIL})
    listed = cli("dead-letters", "list", "--json").json
    assert [(one["id"], one["queue"]) for one in listed] == [("m0", "double")]
    assert "m0" in cli("dead-letters", "list", "double").out
    assert "m0" in cli("dead-letters", "list", "double.dead").out
    shown = cli("dead-letters", "show", "m0")
    assert listed[0]["error"] in shown.out
    assert listed[0]["digest"] in shown.out
    assert "unreadable" in shown.out
    assert "secret" not in shown.out
    assert "\x1b" not in shown.out
    assert "secret" in cli("dead-letters", "show", "m0", "--body").out
    assert "\x1b" not in cli("dead-letters", "show", "m0", "--body").out
    assert cli("dead-letters", "show", "m9").code == 1


def test_a_dead_letter_shows_what_its_records_claim(cli: InProcess) -> None:
    specs = [ActivitySpec("double", arguments={"n": 77001}), ActivitySpec("fail", arguments={"x": ResultOf("double")})]
    dispatched(*specs, variables={"mail": "a@b.c"}, correlation_id="wf-1")
    envelope = asyncio.run(taken("double"))
    envelope["origin"]["signatures"][0]["signature"] = "A" * 43
    forged = json.dumps(envelope).encode()
    envelope["chain"].append({"payload": "e30", "signatures": []})
    refuse(forged, json.dumps(envelope).encode(), headers={"content-type": CONTENT_TYPE})
    shown = cli("dead-letters", "show", "m0", "--json")
    assert shown.json["claims"]["workflow"] == "wf-1"
    assert shown.json["claims"]["steps"] == ["double", "fail"]
    assert shown.json["claims"]["variables"] == ["mail"]
    assert shown.json["claims"]["verified"] is False
    assert "77001" not in shown.out
    assert "unreadable" in cli("dead-letters", "show", "m1", "--json").json["claims"]
    assert "workflow: wf-1" in cli("dead-letters", "show", "m0").out


async def taken(queue: str) -> dict[str, Any]:
    """The envelope in ``queue``, which is then empty."""
    async with get_transport() as transport:
        (message,) = await transport.peek(queue)
        await transport.purge(queue)
    envelope: dict[str, Any] = json.loads(message.body)
    return envelope


def test_dead_letters_are_replayed(cli: InProcess) -> None:
    refuse(b"one", b"two")
    assert cli("dead-letters", "replay", "double").code == 2
    assert cli("dead-letters", "replay", "double", "m0", "--all").code == 2
    assert cli("dead-letters", "replay", "double", "m0", "--json").json == {"queue": "double", "replayed": 1}
    assert [one["id"] for one in cli("dead-letters", "list", "--json").json] == ["m1"]
    missing = cli("dead-letters", "replay", "double", "m7")
    assert missing.code == 1
    assert cli("dead-letters", "replay", "double", "--all").code == 0
    assert cli("queues", "double", "--json").json[0]["ready"] == 2


def test_purging_asks_first(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(b"one")
    done = cli("dead-letters", "purge", "double")
    assert done.code == 2
    assert "--yes" in done.err
    for answer, code, left in (("n\n", 1, 1), ("y\n", 0, 0)):
        stdin = Terminal(answer)
        monkeypatch.setattr(sys, "stdin", stdin)
        asked = cli("dead-letters", "purge", "double")
        assert asked.code == code
        assert "Throw all dead letters" in asked.err
        assert len(cli("dead-letters", "list", "--json").json) == left


def test_purging_with_yes_does_not_ask(cli: InProcess) -> None:
    refuse(b"one")
    assert cli("dead-letters", "purge", "double", "--yes", "--json").json == {"queue": "double", "purged": 1}


class Terminal:
    """A keyboard that types one answer."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self, *_: Any) -> str:
        return self.answer

    def fileno(self) -> int:
        raise OSError

    errors = encoding = "utf-8"


def test_keys_init(cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my keys" / "k.json"
    done = cli("keys", "init", "--path", str(path))
    assert done.out == f"export PAIGEANT_HS256_KEY_FILE='{path}'\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert json.loads(before)["keys"][0]["k"] not in done.out + done.err
    again = cli("keys", "init", "--path", str(path))
    assert again.code == 2
    assert "exists already" in again.err
    assert path.read_bytes() == before
    monkeypatch.setenv("PAIGEANT_HS256_KEY_FILE", str(path))
    assert cli("dispatch", "double").code == 0


def test_keys_init_has_a_place_of_its_own_for_each_namespace(
    cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    done = cli("keys", "init", "--namespace", "blue", "--json")
    path = tmp_path / "config" / "paigeant" / "blue.key"
    assert done.json == {"path": str(path), "namespace": "blue", "variable": "PAIGEANT_HS256_KEY_FILE"}
    assert path.exists()
    assert cli("keys", "init", "--signer", "missing").code == 2


def test_plugins_are_listed_even_if_every_one_is_broken(
    cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, machine = cli("plugins"), cli("plugins", "--json")
    assert people.code == machine.code == 0
    assert {"name": "sqlite", "kind": "transport", "status": "available"}.items() <= next(
        row for row in machine.json if row["name"] == "sqlite" and row["kind"] == "transport"
    ).items()
    assert "sqlite" in people.out
    broken = tmp_path / "site"
    info = broken / "acme_broken-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broken\nVersion: 9.9\n")
    names = ["acme", *sorted({row["name"] for row in machine.json})]
    (info / "entry_points.txt").write_text("[paigeant]\n" + "".join(f"{name} = acme_missing\n" for name in names))
    monkeypatch.syspath_prepend(str(broken))
    monkeypatch.setattr(sys, "path", [str(broken), *sys.path])
    done = cli("plugins", "--json")
    assert done.code == 0
    assert {row["status"] for row in done.json} <= {"broken", "conflict"}
    (acme,) = [row for row in done.json if row["name"] == "acme"]
    assert (acme["distribution"], acme["version"], acme["status"]) == ("acme-broken", "9.9", "broken")
    assert "acme_missing" in acme["error"]
    assert "acme_missing" in cli("plugins").out


COMMANDS = [
    ["worker"],
    ["dispatch"],
    ["plugins"],
    ["queues"],
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
        *("worker", "dispatch", "plugins", "queues", "dead-letters", "workflows", "keys")
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
