"""Messages that the broker would not take again: what tells of them is kept, and the worker goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivitySpec, DeadLetters, PermanentFault, activity
from paigeant.builtin.sqlite import ops
from paigeant.errors import WorkflowError
from paigeant.model.events import MessageDeadLettered
from paigeant.model.message import Message, Publication
from paigeant.runtime.dead_letters import DeadLetter
from paigeant.testing import VirtualClock

from ..support import MODES, NO_RETRY, Bed, Mode, Recorder, until

LIMIT = 4_000
LONG = "x" * 5_000


@activity("echo")
async def echo(value: Any = None) -> Any:
    return value


def lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the broker takes from now on."""
    monkeypatch.setattr(ops, "MAX_MESSAGE", LIMIT)


async def only_letter(bed: Bed, queue: str) -> DeadLetter:
    async def there() -> bool:
        return bool(await bed.dead(queue))

    await until(there)
    async with DeadLetters(bed.transport) as dead:
        (letter,) = await dead.list(queue)
    return letter


@pytest.mark.parametrize("mode", MODES)
async def test_a_refused_message_leaves_its_digest_and_size(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    body, recorder = b"x" * 2 * LIMIT, Recorder()
    headers = {"y": "z", "paigeant-size": "7"}
    async with Bed("sqlite", mode, tmp_path) as bed:
        await bed.transport.publish(Publication("echo", Message("large", body, headers)))
        await bed.transport.publish(Publication("echo", Message("small", b"junk", headers)))
        lower(monkeypatch)
        async with bed.worker(echo, observers=[recorder]):
            assert (await bed.outcome(await bed.dispatch([ActivitySpec("echo")]))).status == "completed"
            await until(lambda: len(recorder.of(MessageDeadLettered)) == 2)
        async with DeadLetters(bed.transport) as dead:
            large, small = sorted(await dead.list("echo"), key=lambda one: one.id)
            assert (large.error, large.digest) == ("UnsupportedContentType", hashlib.sha256(body).hexdigest())
            assert (large.kept, large.size, large.message.body) == (False, len(body), b"")
            assert (small.kept, small.size, small.message.body) == (True, 4, b"junk")
            with pytest.raises(WorkflowError, match=r"^1 sent back to 'echo'; 1 cannot be.*: large; .*purge echo$"):
                await dead.replay("echo")
            assert [one.id for one in await dead.list("echo")] == ["large"]
            with pytest.raises(WorkflowError, match=r"^0 sent back"):
                await dead.replay("echo", ["large"])
            assert await dead.replay("echo", ["another"]) == 0


@pytest.mark.parametrize("mode", MODES)
async def test_what_cannot_be_put_back_is_refused(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with Bed("sqlite", mode, tmp_path) as bed:
        await bed.dispatch([ActivitySpec("absent", {"value": LONG}, queue="echo")])
        lower(monkeypatch)
        async with bed.worker(echo):
            letter = await only_letter(bed, "echo")
    assert (letter.error, letter.kept) == ("MessageTooLarge", False)


@pytest.fixture
def without_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")


@pytest.mark.usefixtures("without_a_store")
async def test_what_would_be_parked_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @activity("broken", retry=NO_RETRY)
    async def broken(value: str) -> None:
        lower(monkeypatch)
        raise PermanentFault("no")

    async with Bed("sqlite", "none", tmp_path) as bed:
        await bed.dispatch([ActivitySpec("broken", {"value": LONG}, exhausted="park")])
        async with bed.worker(broken):
            letter = await only_letter(bed, "broken")
    assert (letter.error, letter.kept) == ("permanent", False)


@pytest.mark.usefixtures("without_a_store")
async def test_what_has_expired_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome, which cannot be sent either, is waited for in vain."""
    clock = VirtualClock()
    async with Bed("sqlite", "none", tmp_path, clock=clock) as bed:
        async with bed.dispatcher(clock=clock) as dispatcher:
            await dispatcher.dispatch_workflow([ActivitySpec("echo", {"value": LONG})], expires=60)
        clock.jump(3600)
        lower(monkeypatch)
        async with bed.worker(echo, clock=clock):
            letter = await only_letter(bed, "echo")
    assert (letter.error, letter.kept) == ("Expired", False)
