"""A message of an unknown key, or from the future, is waited for: as long as that may heal, whoever meets it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from paigeant import ActivitySpec, DeadLetters, activity
from paigeant.model.message import Message, Publication
from paigeant.runtime import reception
from paigeant.testing import VirtualClock

from ..core.records_kit import Key
from ..support import MODES, PATIENCE, Bed, Mode, until
from .forge import HEADERS, OURS, THEIRS, security

ROUND = 200.0
ROUNDS = int(reception.ODD_PATIENCE / ROUND)


@activity("echo")
async def echo() -> None: ...


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "ODD_DELAY", ROUND)


@asynccontextmanager
async def met(mode: Mode, directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Bed, VirtualClock]]:
    """A bed with a message of an unknown key."""
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    clock = VirtualClock()
    async with Bed("inmemory", mode, directory, clock=clock) as bed:
        async with bed.dispatcher(security=security(THEIRS), clock=clock) as dispatcher:
            await dispatcher.dispatch_workflow([ActivitySpec("echo")], correlation_id="w")
        yield bed, clock


async def marked(bed: Bed, **headers: str) -> None:
    """The message in the queue, with these headers as well."""
    (message,) = await bed.transport.peek("echo")
    await bed.transport.purge("echo")
    added = {f"paigeant-{name}": value for name, value in headers.items()}
    await bed.transport.publish(Publication("echo", Message("m", message.body, {**message.headers, **added})))


async def go_round(bed: Bed, clock: VirtualClock) -> None:
    """A worker meets the message and puts it back; then its time comes again."""

    async def put_back() -> bool:
        return bool((await bed.transport.queues("echo"))["echo"].delayed)

    async with bed.worker(echo, security=security(), clock=clock):
        await until(put_back)
    await clock.advance(ROUND)


async def give_up(bed: Bed, clock: VirtualClock) -> None:
    async with bed.worker(echo, security=security(), clock=clock):
        await until(lambda: refused(bed))


async def refused(bed: Bed) -> bool:
    return await bed.dead("echo") == ["UnknownKey"]


@pytest.mark.parametrize("mode", MODES)
async def test_no_restart_makes_it_wait_anew(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with met(mode, tmp_path, monkeypatch) as (bed, clock):
        for _ in range(ROUNDS):
            await go_round(bed, clock)
        await give_up(bed, clock)


@pytest.mark.parametrize("seen", ["9" * 15, "9" * 999, "-1", "", "soon"])
async def test_no_header_makes_it_wait_for_longer(seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with met("shared", tmp_path, monkeypatch) as (bed, clock):
        await marked(bed, seen=seen)
        for _ in range(ROUNDS):
            await go_round(bed, clock)
        await give_up(bed, clock)


@pytest.mark.parametrize("mode", MODES)
async def test_its_other_headers_stay(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with met(mode, tmp_path, monkeypatch) as (bed, clock):
        await marked(bed, attempt="2", gen="3")
        await go_round(bed, clock)
        (message,) = await bed.transport.peek("echo")
    assert message.headers.items() > {**HEADERS, "paigeant-attempt": "2", "paigeant-gen": "3"}.items()


async def test_a_replayed_one_is_waited_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with met("shared", tmp_path, monkeypatch) as (bed, clock):
        await marked(bed, seen="1")
        await give_up(bed, clock)
        async with DeadLetters(bed.transport) as dead:
            assert await dead.replay("echo") == 1
        (message,) = await bed.transport.peek("echo")
        assert dict(message.headers) == {**HEADERS, "paigeant-gen": "1"}
        await go_round(bed, clock)


async def test_who_runs_the_worker_is_told_at_once_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "paigeant.runtime")
    async with met("shared", tmp_path, monkeypatch) as (bed, clock):
        await go_round(bed, clock)
        (told,) = [record.getMessage() for record in caplog.records if record.name == "paigeant.runtime"]
        await go_round(bed, clock)
    assert told.startswith(
        "a message of queue 'echo' cannot be verified; it is tried again, and given up after 600 s: "
    )
    assert "UnknownKey: no configured key has the kid 'theirs'" in told
    assert "paigeant keys init" in told
    assert caplog.text.count("cannot be verified") == 1


@pytest.mark.parametrize(
    ("key", "error"), [(OURS, "UnknownKey"), (Key(THEIRS.kid, "mallory", b"x" * 32), "BadSignature")]
)
async def test_a_worker_does_not_send_again_what_it_would_refuse(
    key: Key, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with met("separate", tmp_path, monkeypatch) as (bed, clock):
        async with bed.worker(echo, security=security(key), clock=clock):
            for _ in range(36):
                await clock.advance(ROUND / 2)
        assert await bed.dead("echo") == [error]
        assert caplog.text.count("this one would refuse it") == 1
        async with bed.worker(echo, security=security(THEIRS), clock=clock):
            await clock.advance(ROUND)
        async with bed.client(security=security(THEIRS), clock=clock) as client:
            assert (await client.outcome("w", timeout=PATIENCE)).status == "completed"
