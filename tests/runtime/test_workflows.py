"""Dispatch, outcome, parking, expiry: what a caller sees of a workflow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from paigeant import (
    ActivityContext,
    ActivitySpec,
    ConfigurationError,
    DuplicateWorkflow,
    InvalidWorkflow,
    PermanentFault,
    ResultTimeout,
    RevisionPolicy,
    StoreRequired,
    Worker,
    WorkflowNotFound,
    activity,
)
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendClosed

from ..support import PATIENCE, QUICK, Bed, Lingering, until


@activity
async def echo(value: Any = None) -> Any:
    return value


SLIP = [ActivitySpec("echo", {"value": 1})]


async def test_an_activity_that_awaits_a_workflow_in_vain_tries_again(memory: Bed) -> None:
    go = asyncio.Event()

    @activity
    async def child() -> str:
        await go.wait()
        return "done"

    @activity(retry=QUICK)
    async def parent(ctx: ActivityContext) -> str:
        if ctx.attempt == 2:
            go.set()
        workflow = await memory.dispatch([child.spec()], correlation_id=ctx.idempotency_key)
        return (await memory.outcome(workflow, timeout=PATIENCE if go.is_set() else 0.01)).result_of(child)

    outcome = await memory.run([parent.spec()], parent, child)
    assert (outcome.status, outcome.results) == ("completed", {"parent": "done"})


async def test_an_activity_that_awaits_a_workflow_that_fails_does_not_try_again(memory: Bed) -> None:
    attempts: list[int] = []

    @activity
    async def child() -> None:
        raise PermanentFault("no")

    @activity(retry=QUICK)
    async def parent(ctx: ActivityContext) -> None:
        attempts.append(ctx.attempt)
        async with memory.client() as client:
            await client.result(await memory.dispatch([child.spec()]), timeout=PATIENCE)

    outcome = await memory.run([parent.spec()], parent, child)
    assert outcome.fault is not None
    assert (outcome.fault.error, attempts) == ("WorkflowFailed", [1])


async def test_the_same_dispatch_twice_is_one_workflow(stored: Bed) -> None:
    ran: list[Any] = []

    @activity
    async def count(value: Any) -> None:
        ran.append(value)

    slip = [ActivitySpec("count", {"value": 1})]
    first = await stored.dispatch(slip, correlation_id="order-7", variables={"a": 1})
    again = await stored.dispatch(slip, correlation_id="order-7", variables={"a": 1})
    assert first == again == "order-7"
    async with stored.worker(count):
        assert (await stored.outcome("order-7")).status == "completed"
        assert await stored.dispatch(slip, correlation_id="order-7", variables={"a": 1}) == "order-7"

        async def empty() -> bool:
            stats = (await stored.transport.queues("count"))["count"]
            return not (stats.ready or stats.in_flight)

        await until(empty)
    assert ran == [1]


@pytest.mark.parametrize(
    "other",
    [
        {"slip": [ActivitySpec("echo", {"value": 2})]},
        {"slip": [ActivitySpec("echo", {"value": 1}), ActivitySpec("echo")]},
        {"slip": SLIP, "variables": {"a": 1}},
    ],
    ids=["argument", "step", "variable"],
)
async def test_other_content_under_one_id_is_a_duplicate(stored: Bed, other: dict[str, Any]) -> None:
    await stored.dispatch(SLIP, correlation_id="order-7")
    other = dict(other)
    slip = other.pop("slip")
    with pytest.raises(DuplicateWorkflow, match="'order-7'"):
        await stored.dispatch(slip, correlation_id="order-7", **other)
    async with stored.worker(echo):
        assert (await stored.outcome("order-7")).results == {"echo": 1}
        with pytest.raises(DuplicateWorkflow):
            await stored.dispatch(slip, correlation_id="order-7", **other)


async def test_a_hundred_dispatchers_of_one_id_make_one_workflow(stored: Bed) -> None:
    ran: list[int] = []

    @activity
    async def count() -> None:
        ran.append(1)

    async with stored.worker(count), stored.dispatcher() as dispatcher:
        slip = [ActivitySpec("count")]
        many = (dispatcher.dispatch_workflow(slip, correlation_id="one") for _ in range(100))
        assert set(await asyncio.gather(*many)) == {"one"}
        assert (await stored.outcome("one")).status == "completed"
    assert ran == [1]


async def test_a_token_is_refused_before_anything_is_published(bed: Bed) -> None:
    with pytest.raises(ConfigurationError, match="on-behalf-of"):
        await bed.dispatch(SLIP, obo_token="secret")
    assert (await bed.transport.queues("echo"))["echo"].ready == 0


@pytest.mark.parametrize(
    "options",
    [
        {"correlation_id": "a/b"},
        {"correlation_id": ""},
        {"correlation_id": "x" * 129},
        {"correlation_id": "a\n"},
        {"variables": {"": 1}},
        {"variables": {"x" * 129: 1}},
        {"expires": 0},
        {"expires": -5},
        {"expires": float("nan")},
        {"expires": timedelta(days=31)},
        {"expires": "x"},
        {"correlation_id": 5},
        {"variables": [("a", 1)]},
        {"variables": "x"},
        {"variables": 0},
        {"revisions": 5},
        {"revisions": RevisionPolicy(None, 5)},  # type: ignore[arg-type]
        {"revisions": RevisionPolicy(5, 5)},  # type: ignore[arg-type]
        {"revisions": RevisionPolicy("echo", 5)},
        {"revisions": RevisionPolicy(["echo", 5], 5)},  # type: ignore[list-item]
        {"revisions": RevisionPolicy(["echo"], "5")},  # type: ignore[arg-type]
        {"revisions": RevisionPolicy(["echo"], 1025)},
        {"revisions": RevisionPolicy(["echo"], 5, by="team")},
        {"revisions": RevisionPolicy(["echo"], 5, by=None)},  # type: ignore[arg-type]
        {"revisions": RevisionPolicy(["echo"], 5, by=[""])},
        {"revisions": RevisionPolicy(["echo"], 5, by=[5])},  # type: ignore[list-item]
    ],
    ids=str,
)
async def test_nonsense_is_refused_at_the_producer(memory: Bed, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidWorkflow):
        await memory.dispatch(SLIP, **options)
    assert (await memory.transport.queues("echo"))["echo"].ready == 0


async def test_an_empty_itinerary_is_refused(memory: Bed) -> None:
    with pytest.raises(InvalidWorkflow):
        await memory.dispatch([])


async def test_a_grant_of_fewer_steps_than_there_are_is_refused(memory: Bed) -> None:
    with pytest.raises(InvalidWorkflow, match="from 2, the steps that the itinerary has already"):
        await memory.dispatch(SLIP * 2, revisions=RevisionPolicy(["echo"], 1))


@pytest.mark.parametrize("timeout", ["5", [5], float("nan"), True], ids=str)
async def test_waiting_for_no_number_of_seconds_is_refused(memory: Bed, timeout: Any) -> None:
    async with memory.client() as client:
        with pytest.raises(ConfigurationError, match="timeout="):
            await client.result("any", timeout=timeout)


async def test_an_itinerary_whose_history_would_not_fit_is_refused(memory: Bed) -> None:
    with pytest.raises(InvalidWorkflow, match="records"):
        await memory.dispatch([ActivitySpec("echo")] * 200)


async def test_waiting_in_a_process_without_a_worker_tells_that_one_is_missing(memory: Bed) -> None:
    workflow = await memory.dispatch(SLIP)
    async with memory.client() as client:
        with pytest.raises(ResultTimeout, match=r"nobody serves queue 'echo' now.*in this process"):
            await client.result(workflow, timeout=0.05)


async def test_waiting_for_a_step_that_runs_does_not_ask_for_a_worker(stored: Bed) -> None:
    lingering = Lingering()
    workflow = await stored.dispatch([ActivitySpec("slow")])
    lingering.release.set()
    async with stored.worker(lingering.activity), stored.client() as client:
        await lingering.running.wait()
        with pytest.raises(ResultTimeout, match=r"`paigeant dead-letters list`|if a Worker in this process"):
            await client.result(workflow, timeout=0.05)


async def test_waiting_has_a_limit_and_the_workflow_goes_on(bed: Bed) -> None:
    workflow = await bed.dispatch(SLIP)
    async with bed.client() as client:
        with pytest.raises(ResultTimeout, match=rf"{workflow}.*(serves queue 'echo'|`paigeant dead-letters list`)"):
            await client.result(workflow, timeout=timedelta(milliseconds=50))
        async with bed.worker(echo):
            assert (await client.result(workflow, timeout=10)).results == {"echo": 1}


async def test_an_unknown_workflow_is_not_found(stored: Bed) -> None:
    async with stored.client() as client:
        for ask in (client.result, client.status, client.resume):
            with pytest.raises(WorkflowNotFound, match="'nobody'"):
                await ask("nobody")
        assert await client.history("nobody") == []


async def test_several_may_read_one_outcome_again_and_again(bed: Bed) -> None:
    workflow = await bed.dispatch(SLIP)
    async with bed.worker(echo):
        outcomes = await asyncio.gather(*(bed.outcome(workflow) for _ in range(5)))
    assert [outcome.results for outcome in outcomes] == [{"echo": 1}] * 5
    assert (await bed.outcome(workflow)).results == {"echo": 1}


async def test_without_a_store_questions_that_need_one_say_so(storeless: Bed) -> None:
    async with storeless.client() as client:
        for ask in (client.status, client.history, client.resume):
            with pytest.raises(StoreRequired, match="PAIGEANT_STATE_STORE"):
                await ask("any")
        with pytest.raises(StoreRequired):
            await client.parked()


async def test_the_outcome_is_believed_only_if_it_is_signed(storeless: Bed) -> None:
    """Anyone can write to the reply queue."""
    from paigeant.model.message import Message, Publication

    workflow = await storeless.dispatch(SLIP)
    reply = (await storeless.inbox()).address()
    forged = Message("x", b'{"v":1,"status":"completed"}', {"content-type": "application/vnd.paigeant.envelope+json"})
    await storeless.transport.publish(
        *(Publication(reply, Message(f"x{n}", forged.body, forged.headers)) for n in range(30))
    )
    async with storeless.worker(echo):
        assert (await storeless.outcome(workflow)).results == {"echo": 1}


async def test_status_tells_where_a_workflow_stands(stored: Bed) -> None:
    release = asyncio.Event()

    @activity
    async def held() -> None:
        await release.wait()

    workflow = await stored.dispatch([ActivitySpec("echo"), ActivitySpec("held")])
    async with stored.client() as client:
        status = await client.status(workflow)
        assert (status.state, status.seq, status.queue, status.consumers) == ("ready", 0, "echo", 0)
        async with stored.worker(echo, held):

            async def second() -> bool:
                return (await client.status(workflow)).seq == 1

            await until(second)
            assert (await client.status(workflow)).consumers == 1
            release.set()
            states = [status.state async for status in client.watch(workflow)]
    assert states[-1] == "ended"
    assert (await client.status(workflow)).outcome == "completed"


async def test_one_inbox_serves_all_that_one_transport_dispatched(storeless: Bed) -> None:
    """However many wait, in whatever order, again after their client was closed, and when nobody waits yet."""
    workflows = [await storeless.dispatch(SLIP) for _ in range(20)]
    async with storeless.worker(echo):
        first = await storeless.outcome(workflows[7])
        outcomes = await asyncio.gather(*(storeless.outcome(workflow) for workflow in reversed(workflows)))
    assert [outcome.correlation_id for outcome in outcomes] == workflows[::-1]
    assert first.results == (await storeless.outcome(workflows[7])).results
    queues = await storeless.transport.queues((await storeless.inbox()).address())
    assert [(stats.ready, stats.in_flight) for stats in queues.values()] == [(0, 0)], "outcomes are taken, not left"
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "paigeant inbox"]


async def test_an_inbox_forgets_the_oldest_when_it_is_full(
    storeless: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paigeant.runtime.inbox.KEPT", 5000)
    workflows = [await storeless.dispatch(SLIP) for _ in range(5)]
    async with storeless.worker(echo), storeless.client() as client:
        outcomes = await asyncio.gather(*(client.result(workflow) for workflow in workflows))
        assert len(outcomes) == 5, "those who wait get theirs"
        assert "PAIGEANT_STATE_STORE" in caplog.text
        with pytest.raises(ResultTimeout, match=r"`paigeant dead-letters list`.*transport instance that dispatched"):
            await asyncio.gather(*(client.result(workflow, timeout=0.2) for workflow in workflows))


async def test_who_waits_learns_that_the_transport_was_closed(storeless: Bed) -> None:
    workflow = await storeless.dispatch(SLIP)
    client = storeless.client()
    waiting = asyncio.ensure_future(client.result(workflow))
    inbox = await storeless.inbox()

    async def consumed() -> bool:
        return (await storeless.transport.queues(inbox.address()))[inbox.address()].consumers == 1

    await until(consumed)
    await storeless.transport.disconnect()
    with pytest.raises(BackendClosed):
        await waiting
    await client.close()
    await storeless.transport.connect()


class Storeless(InMemoryTransport):
    """A transport that brings no store."""

    def state_store(self) -> None:  # type: ignore[override]
        return


@pytest.mark.parametrize("chosen", [True, False])
async def test_a_transport_without_a_store_says_which_to_pair_it_with(
    chosen: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if chosen:
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with Storeless("inmemory://storeless") as transport, Worker(transport, [echo]):
        pass
    assert ("set PAIGEANT_STATE_STORE: sqlite" in caplog.text) is not chosen
