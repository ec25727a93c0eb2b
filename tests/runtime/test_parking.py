"""Parked, expired, dead-lettered: where a workflow goes that does not go on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from paigeant import (
    ActivityContext,
    ActivitySpec,
    DeadLetters,
    PermanentFault,
    ResultExpired,
    ResultTimeout,
    RetryPolicy,
    WorkflowClient,
    WorkflowError,
    activity,
)
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.model.message import Publication
from paigeant.model.store import ANY, Expected
from paigeant.runtime.protocol.storeless import StorelessProtocol
from paigeant.state.cursor import Cursor
from paigeant.state.ids import BranchKeys

from ..core.records_kit import Key, signed
from ..support import NO_RETRY, PATIENCE, Bed, until


@activity
async def echo(value: Any = None) -> Any:
    return value


@activity(retry=NO_RETRY)
async def fails() -> None:
    raise ValueError("no")


SLIP = [ActivitySpec("echo", {"value": 1})]


async def test_results_that_were_cleaned_up_are_expired_not_lost(stored: Bed) -> None:
    workflow = await stored.dispatch(SLIP)
    async with stored.worker(echo):
        await stored.outcome(workflow)
    [result] = await stored.state.scan("result/")
    await stored.state.delete(result.key)
    async with stored.client() as client:
        with pytest.raises(ResultExpired, match="completed"):
            await client.result(workflow)


async def test_exhausted_may_park_and_resume_gives_fresh_attempts(stored: Bed) -> None:
    attempts: list[int] = []

    @activity(retry=RetryPolicy(attempts=2, first_delay=0))
    async def mended(ctx: ActivityContext) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) < 4:
            raise ValueError("several\nlines\nof text")
        return "done"

    slip = [ActivitySpec("echo", {"value": 1}), ActivitySpec("mended", exhausted="park")]
    workflow = await stored.dispatch(slip)
    async with stored.worker(echo, mended), stored.client() as client:

        async def parked() -> bool:
            return (await client.status(workflow)).state == "parked"

        await until(parked)
        (status,) = await client.parked()
        assert (status.correlation_id, status.queue, status.seq) == (workflow, "mended", 1)
        assert status.parked.startswith("exhausted: ValueError: several")
        assert attempts == [1, 2]
        await client.resume(workflow)
        outcome = await client.result(workflow, timeout=10)
        with pytest.raises(WorkflowError, match="not parked"):
            await client.resume(workflow)
        assert await client.parked() == []
    assert outcome.results["mended"] == "done"
    assert attempts == [1, 2, 1, 2]
    assert await stored.steps(workflow) == [("echo", "do", "ok"), ("mended", "do", "ok")]


async def test_who_has_waited_in_vain_learns_that_the_workflow_is_parked(stored: Bed) -> None:
    workflow = await stored.dispatch([ActivitySpec("fails", exhausted="park")])
    async with stored.worker(fails), stored.client() as client:

        async def parked() -> bool:
            return (await client.status(workflow)).state == "parked"

        await until(parked)
        with pytest.raises(ResultTimeout) as told:
            await client.result(workflow, timeout=0.01)
    assert "it is parked (exhausted: ValueError: no" in str(told.value)
    assert f"paigeant workflows resume {workflow}" in str(told.value)
    assert "goes on" not in str(told.value)


async def test_without_a_store_the_log_names_the_dead_letter(storeless: Bed, caplog: pytest.LogCaptureFixture) -> None:
    workflow = await storeless.dispatch([ActivitySpec("fails", exhausted="park")])
    async with storeless.worker(fails), DeadLetters(storeless.transport) as dead:
        await until(lambda: dead_letters(dead))
        (letter,) = await dead.list("fails")
    assert f"workflow {workflow} is a dead letter (exhausted)" in caplog.text
    assert f"paigeant dead-letters replay fails {letter.id}" in caplog.text
    assert "workflows resume" not in caplog.text


async def dead_letters(dead: DeadLetters) -> bool:
    return bool(await dead.list("fails"))


async def test_without_a_store_exhausted_is_a_dead_letter_that_can_be_replayed(storeless: Bed) -> None:
    attempts: list[int] = []

    @activity(retry=RetryPolicy(attempts=2, first_delay=0))
    async def mended(ctx: ActivityContext) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) < 4:
            raise ValueError("several\nlines")
        return "done"

    workflow = await storeless.dispatch([ActivitySpec("mended", exhausted="park")])
    async with storeless.worker(mended), DeadLetters(storeless.transport) as dead:

        async def there() -> bool:
            return bool(await dead.list("mended"))

        await until(there)
        (letter,) = await dead.list("mended")
        assert letter.error == "exhausted"
        assert await dead.replay("mended") == 1
        assert (await storeless.outcome(workflow)).results == {"mended": "done"}
    assert attempts == [1, 2, 1, 2], "a replay gives fresh attempts"


async def test_an_expired_workflow_ends_as_expired(stored: Bed) -> None:
    keys = signed(Key(), namespace="default", skew=0)
    ran: list[int] = []

    @activity
    async def late() -> None:
        ran.append(1)

    async with stored.dispatcher(security=keys) as dispatcher:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("late")], expires=1)
    await asyncio.sleep(1.1)  # the time is that of the signed record: whole seconds
    async with stored.worker(late, security=keys), stored.client(security=keys) as client:
        assert (await client.outcome(workflow, timeout=10)).status == "expired"
    assert ran == []
    assert await stored.all_dead() == []


async def test_a_workflow_that_expires_while_it_runs_ends_as_expired(stored: Bed) -> None:
    keys = signed(Key(), namespace="default", skew=0)

    @activity
    async def slow() -> None:
        await asyncio.sleep(2.1)

    async with stored.dispatcher(security=keys) as dispatcher:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("slow")], expires=1)
    async with stored.worker(slow, security=keys, lease=2.0), stored.client(security=keys) as client:
        assert (await client.outcome(workflow, timeout=10)).status == "expired"


async def test_a_parked_workflow_that_nobody_resumes_expires(stored: Bed) -> None:
    keys = signed(Key(), namespace="default", skew=0)

    @activity(retry=NO_RETRY)
    async def broken() -> None:
        raise PermanentFault("no")

    async with stored.dispatcher(security=keys) as dispatcher:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("broken", exhausted="park")], expires=2)
    async with stored.worker(broken, security=keys), stored.client(security=keys) as client:
        assert (await client.outcome(workflow, timeout=10)).status == "expired"
        assert await client.parked() == []


async def test_without_a_store_an_expired_workflow_is_told_and_dead_lettered(
    storeless: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Publication] = []
    make = StorelessProtocol._reply

    def watched(self: StorelessProtocol, *args: Any) -> tuple[Publication, ...]:
        sent.extend(made := make(self, *args))
        return made

    monkeypatch.setattr(StorelessProtocol, "_reply", watched)
    keys = signed(Key(), namespace="default", skew=0)
    async with storeless.dispatcher(security=keys) as dispatcher:
        workflow = await dispatcher.dispatch_workflow(SLIP, expires=1)
    await asyncio.sleep(1.1)
    async with storeless.worker(echo, security=keys), storeless.client(security=keys) as client:
        assert (await client.outcome(workflow, timeout=10)).status == "expired"
    assert await storeless.dead("echo") == ["Expired"]
    (reply,) = [each for each in sent if each.queue.startswith("reply.")]
    assert reply.ttl == 3600, "a reply that nobody reads must go one day, but not before its reader may ask"


async def test_a_workflow_that_parks_again_while_it_is_resumed_stays_listed(memory: Bed) -> None:
    async def parked_again() -> bool:
        entry = await memory.state.get(keys.cursor)
        return entry is not None and Cursor.decode(entry.value).gen > 0 and bool(Cursor.decode(entry.value).parked)

    class Far(InMemoryStore):
        """By the time that its deletions arrive, a worker has been quick."""

        async def delete(self, key: str, *, expected: Expected = ANY) -> None:
            await until(parked_again)
            await super().delete(key, expected=expected)

    @activity(retry=NO_RETRY)
    async def broken() -> None:
        raise PermanentFault("no")

    workflow = await memory.dispatch([ActivitySpec("broken", exhausted="park")])
    keys = BranchKeys.of(workflow)
    far = memory.make_transport()
    assert isinstance(far, InMemoryTransport)
    far._store = Far(of=far._membership)
    async with memory.worker(broken), far, WorkflowClient(far) as client:

        async def parked() -> bool:
            return (await client.status(workflow)).state == "parked"

        await until(parked)
        await client.resume(workflow)
        assert await parked()
        assert [status.correlation_id for status in await client.parked()] == [workflow]


async def test_a_workflow_that_is_just_being_parked_stays_listed(tmp_path: Path) -> None:
    """With a separate store the index is written before the cursor."""
    looked, listed = asyncio.Event(), asyncio.Event()

    class Slow(InMemoryStore):
        async def put(self, key: str, value: Any, **options: Any) -> int:
            revision = await super().put(key, value, **options)
            if key.startswith("parked/"):
                listed.set()
                await looked.wait()
            return revision

    @activity(retry=NO_RETRY)
    async def broken() -> None:
        raise PermanentFault("no")

    async with Bed("inmemory", "separate", tmp_path) as bed, Slow(f"inmemory://{bed._name}-state") as slow:
        workflow = await bed.dispatch([ActivitySpec("broken", exhausted="park")])
        async with bed.worker(broken, state_store=slow), bed.client() as client:
            await asyncio.wait_for(listed.wait(), PATIENCE)
            assert await client.parked() == []
            looked.set()

            async def parked() -> bool:
                return (await client.status(workflow)).state == "parked"

            await until(parked)
            assert [status.correlation_id for status in await client.parked()] == [workflow]
