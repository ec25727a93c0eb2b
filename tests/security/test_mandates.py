"""What the dispatcher has signed binds who runs it: who may run a step, and what this release cannot honour."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from msgspec.structs import replace

from paigeant import activity
from paigeant.envelope import Envelope, Security, seal_origin, write_claims
from paigeant.envelope.frame import HEADERS
from paigeant.envelope.signatures import sign
from paigeant.model.message import Message, Publication
from paigeant.model.records import OnBehalfOf, Step
from paigeant.runtime import reception

from ..core.records_kit import Key, Values
from ..support import Bed, until

ALICE, BOB = Key("alice-1", "alice"), Key("bob-1", "bob")


def security(own: Key) -> Security:
    return Security.build("default", signers=[own], verifiers=[ALICE, BOB], required=[])


async def body(*, by: tuple[str, ...] | None = None, deadline: int | None = None, **claims: Any) -> bytes:
    """A workflow of one step that ``alice`` has dispatched just now."""
    now, keys = int(time.time()), security(ALICE)
    step = Step(id="1", act="work", q="work", args=(values := Values()).ref({}), by=by)
    opened = await seal_origin(
        wf="w",
        steps=[step],
        variables={},
        blobs=values.blobs,
        security=keys,
        iat=now,
        exp=now + 600,
        deadline=None if deadline is None else now + deadline,
    )
    origin = replace(opened.slip.origin, **claims)
    return Envelope((await sign(write_claims(origin), "origin", keys),), values.blobs).body


class Counted:
    """One activity, and how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

        @activity
        async def work() -> str:
            self.runs += 1
            return "done"

        self.activity = work


async def test_a_step_waits_for_a_worker_that_may_run_it(
    stored: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The workers of one queue may sign as different principals: those that may not leave it to those that may."""
    monkeypatch.setattr(reception, "NOT_SERVED_DELAY", 0.05)
    caplog.set_level(logging.WARNING)
    alice, bob = Counted(), Counted()
    message = Message("m", await body(by=("bob",)), HEADERS)
    await stored.transport.publish(Publication("work", message))
    async with stored.worker(alice.activity, security=security(ALICE)):
        await until(lambda: "may not run as 'alice' (only as one of ['bob'])" in caplog.text)
        async with stored.worker(bob.activity, security=security(BOB)), stored.client(security=security(BOB)) as client:
            await until(lambda: bob.runs > 0)
            assert (await client.result("w", timeout=10)).results == {"work": "done"}
    assert (alice.runs, bob.runs) == (0, 1)
    assert await stored.all_dead() == []


@pytest.mark.parametrize(
    "claims",
    [{"deadline": 300}, {"obo": OnBehalfOf(mode="ref", h="A" * 43, sub="ada", iss="https://login.acme.org")}],
    ids=["a deadline", "a user's rights"],
)
async def test_what_this_release_would_ignore_is_refused_by_name(
    memory: Bed, claims: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    work = Counted()
    await memory.transport.publish(Publication("work", Message("m", await body(**claims), HEADERS)))
    async with memory.worker(work.activity, security=security(ALICE)):

        async def refused() -> bool:
            return await memory.dead("work") == ["UnsupportedVersion"]

        await until(refused)
    assert work.runs == 0
    assert "which this release ignores: upgrade the worker" in caplog.text
