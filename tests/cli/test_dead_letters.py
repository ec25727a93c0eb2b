"""``paigeant dead-letters``, in this process on a SQLite file of the test."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from paigeant import (
    ActivitySpec,
    ResultOf,
    get_transport,
)
from paigeant.abc import Transport
from paigeant.envelope import CONTENT_TYPE
from paigeant.model.message import Message, Publication

from .conftest import InProcess
from .serving_kit import EVIL, dispatched, served


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


def test_the_queue_is_where_they_lie_whatever_their_headers_say(cli: InProcess) -> None:
    refuse(b"one")

    async def work(transport: Transport) -> None:
        await transport.publish(Publication("double.dead", Message("m9", b"{}", {"paigeant-queue": "other"})))

    served(work)
    listed = cli("dead-letters", "list", "--json").json
    assert [(one["id"], one["queue"]) for one in listed] == [("m0", "double"), ("m9", "double")]


def test_nothing_is_made_where_there_is_nothing_to_replay(cli: InProcess) -> None:
    assert cli("dead-letters", "replay", "nosuch", "--all", "--json").json == {"queue": "nosuch", "replayed": 0}
    assert cli("queues", "--json").json == []


@pytest.mark.parametrize(
    "command",
    [
        ["queues"],
        ["dead-letters", "list"],
        ["dead-letters", "show", "m0", "--queue"],
        ["dead-letters", "purge", "--yes"],
        ["dead-letters", "replay", "--all"],
    ],
)
@pytest.mark.parametrize("name", ["Not One", "a..b", "", "a.dead.dead"])
def test_a_name_that_no_queue_can_have_is_refused(cli: InProcess, command: list[str], name: str) -> None:
    done = cli(*command, name)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith("error: queue name ")


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
    assert cli("dead-letters", "purge", "double.dead", "--yes", "--json").json == {"queue": "double", "purged": 1}


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


def test_one_whose_bytes_could_not_be_kept_says_so(cli: InProcess) -> None:
    async def work(transport: Transport) -> None:
        headers = {"paigeant-error": "LimitExceeded", "paigeant-digest": "abc", "paigeant-size": "3000000"}
        await transport.publish(Publication("double.dead", Message("m0", b"", headers)))

    served(work)
    assert "3000000" in cli("dead-letters", "list").out
    shown = cli("dead-letters", "show", "m0").out
    assert "bytes: 3000000\nkept: no: the broker would not take these bytes again" in shown
    assert "unreadable" not in shown
    replayed = cli("dead-letters", "replay", "double", "m0")
    assert replayed.code == 1
    assert "0 sent back to 'double'; 1 cannot be" in replayed.err
    assert len(cli("dead-letters", "list", "--json").json) == 1
