"""``paigeant dispatch`` and ``paigeant workflows``, in this process on a SQLite file of the test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from paigeant import (
    ActivitySpec,
    ConfigurationError,
    WorkflowError,
    activity,
)
from paigeant.abc import Transport
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.cli.dispatch import follow

from .conftest import InProcess, Result
from .serving_kit import dispatched, double, served


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


def test_who_may_not_look_at_the_queues_may_dispatch(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> Any:
        raise ConfigurationError("permissions violation")

    monkeypatch.setattr(SqliteTransport, "queues", refused)
    plain = cli("dispatch", "double", "--id", "wf-1")
    assert (plain.code, plain.out) == (0, "wf-1\n")
    assert plain.err.index("dispatched workflow wf-1") < plain.err.index("warning: ")
    assert "permissions violation" in plain.err
    done = cli("dispatch", "double", "--id", "wf-2", "--json")
    assert (done.code, done.json) == (0, {"correlation_id": "wf-2", "unserved": None})


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
        (["a", "--expires", "0.5s"], "--expires '0.5s'"),
        (["a", "--timeout", "0"], "--timeout '0'"),
        (["a", "--timeout", "0"], "--timeout '0'"),
        (["a", "--id", "not ok"], "correlation id 'not ok'"),
        (["a@"], "queue name ''"),
        (["a@b", "--arg", "b.x=1"], "no activity 'b' in this workflow, only 'a'"),
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


def test_a_misspelt_activity_is_told_with_the_nearest_that_is_served(cli: InProcess) -> None:
    async def misspelt(transport: Transport) -> Result:
        return await asyncio.to_thread(cli, "dispatch", "duoble", "--json")

    done = served(misspelt)
    assert (done.code, done.json["unserved"]) == (0, ["duoble"])
    assert "nobody serves queue 'duoble' now (did you mean 'double', or 'duoble@double'?);" in done.err


def test_an_activity_with_a_queue_of_its_own_is_reached_there(cli: InProcess) -> None:
    async def work(transport: Transport) -> list[Result]:
        commands = [
            ["dispatch", "double@far.double", "--arg", "double.n:=4", "--timeout", "20", "--json"],
            ["dispatch", "double@far.duble", "--json"],
            ["dispatch", "far-double", "--json"],
        ]
        return [await asyncio.to_thread(cli, *command) for command in commands]

    done, misspelt, without = served(work, activity("double", queue="far.double")(double.function))
    assert (done.code, done.json["unserved"], done.json["results"]) == (0, [], {"double": {"values": [8]}})
    assert "nobody serves queue 'far.duble' now (did you mean 'double@far.double'?);" in misspelt.err
    assert "(did you mean 'far.double', or 'far-double@far.double'?);" in without.err


def test_a_timeout_says_that_the_workflow_goes_on(cli: InProcess) -> None:
    commands = {("dispatch", "double", "--id", "wf-1"): "3s", ("workflows", "result", "wf-1"): "50ms"}
    for command, limit in commands.items():
        done = cli(*command, "--timeout", limit)
        assert done.code == 1
        text = done.err.splitlines()[-1]
        assert "nobody serves queue 'double' now: start a worker that serves its activity, and it goes on" in text
        assert text.endswith("`paigeant workflows result wf-1`")
        assert "dead-letters" not in text
    status = cli("workflows", "status", "wf-1")
    assert "nobody serves queue 'double'" in status.out
    assert "dead-letters" not in status.out


def test_a_workflow_that_stays_ready_may_have_been_refused(cli: InProcess) -> None:
    dispatched(ActivitySpec("idle", queue="double"), correlation_id="wf-1")

    async def look(_: Any) -> str:
        return await asyncio.to_thread(lambda: cli("workflows", "status", "wf-1").out)

    assert "look with: paigeant dead-letters list double" in served(look)

    async def wait(_: Any) -> str:
        return await asyncio.to_thread(lambda: cli("workflows", "result", "wf-1", "--timeout", "50ms").err)

    assert "it goes on: ask again; look at" in (late := served(wait))
    assert "`paigeant dead-letters list`" in late


async def hang(*args: Any, **options: Any) -> None:
    await asyncio.Event().wait()


def test_a_timeout_that_ends_before_there_is_a_connection_says_so(
    cli: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteTransport, "connect", hang)
    done = cli("dispatch", "double", "--timeout", "50ms")
    assert (done.code, done.out) == (1, "")
    assert "no connection within 0.05 s, and nothing is dispatched: see `paigeant doctor`" in done.err


def test_a_timeout_is_that_of_the_whole_command(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SqliteTransport, "publish", hang)
        done = cli("dispatch", "double", "--timeout", "5s")  # enough to connect on a busy machine
    assert (done.code, done.out) == (1, "")
    assert "did not take workflow" in done.err.splitlines()[-1]
    again = done.err.split("--id ")[1].split(":")[0]
    assert cli("dispatch", "double", "--id", again).out == f"{again}\n"


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
            await follow(transport, "wf-1", [spec], None, live=False)

    served(work)
    result = cli("workflows", "result", "wf-1", "--timeout", "20")
    assert result.code == 1
    assert "is parked" in result.err
    assert result.err.splitlines()[-1].endswith("paigeant workflows resume wf-1")


def test_without_a_store_nobody_is_sent_to_ask_for_the_result(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    late = cli("dispatch", "double", "--id", "wf-1", "--timeout", "3s")
    assert late.code == 1
    assert "only the transport instance that dispatched it" in late.err.splitlines()[-1]
    assert "paigeant workflows" not in late.err
    result = cli("workflows", "result", "wf-1", "--timeout", "20")
    assert result.code == 1
    assert "needs a state store" in result.err.splitlines()[-1]


def test_a_timeout_with_json_still_tells_the_id(cli: InProcess) -> None:
    done = cli("dispatch", "double", "--id", "wf-1", "--wait", "--timeout", "3s", "--json")
    assert (done.code, done.json["correlation_id"]) == (1, "wf-1")


@pytest.mark.parametrize("command", ["status", "history", "result", "resume"])
def test_an_unknown_workflow_is_one_red_line(cli: InProcess, command: str) -> None:
    done = cli("workflows", command, "wf-0")
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("error: no workflow 'wf-0'")
    assert len(done.err.splitlines()) == 1
