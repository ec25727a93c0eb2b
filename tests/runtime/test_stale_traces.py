"""What late, copied or foreign traces of a workflow must not do: each of these once did harm."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from paigeant import (
    ActivityContext,
    ActivitySpec,
    PermanentFault,
    ResultTimeout,
    RetryAfter,
    RetryPolicy,
    WorkflowClient,
    activity,
)
from paigeant.model.events import WorkflowParked
from paigeant.model.message import Publication
from paigeant.runtime.heartbeat import Heartbeat
from paigeant.runtime.protocol.separate import SeparateProtocol
from paigeant.state.cursor import Cursor
from paigeant.state.ids import BranchKeys
from paigeant.state.transitions import MAX_CRASHES
from paigeant.testing import VirtualClock

from ..support import NO_RETRY, STORED, Bed, Recorder, until


async def test_a_stale_worker_overwrites_neither_result_nor_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, waiting, runs = asyncio.Event(), asyncio.Event(), 0
    make = SeparateProtocol._make

    async def stopped_before_it_writes(self: Any, claim: Any, move: Any, writes: Any = ()) -> None:
        if not waiting.is_set():
            claim.lose = lambda: None
            waiting.set()
            await gate.wait()
        await make(self, claim, move, writes)

    @activity("work")
    async def work() -> str:
        nonlocal runs
        runs += 1
        return f"result {runs}"

    @activity("last")
    async def last() -> None: ...

    monkeypatch.setattr(SeparateProtocol, "_make", stopped_before_it_writes)
    monkeypatch.setattr(Heartbeat, "add", lambda self, claim: None)  # as if stopped: nobody renews
    async with Bed("inmemory", "separate", tmp_path) as bed, bed.client() as client:
        workflow = await bed.dispatch([ActivitySpec("work"), ActivitySpec("last")])
        async with bed.worker(work, last, name="stale", lease=3.0):
            await waiting.wait()
            async with bed.worker(work, last, name="fresh", lease=3.0):
                before = await client.outcome(workflow, timeout=15)
                gate.set()
        assert runs == 2
        assert before.results["work"] == "result 2"
        assert await client.outcome(workflow, timeout=5) == before
        assert [(hop.seq, hop.activity) for hop in await client.history(workflow)] == [(0, "work"), (1, "last")]


async def test_a_hop_that_is_written_down_and_not_yet_committed_is_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker may die before it commits."""
    written, go_on = asyncio.Event(), asyncio.Event()

    @activity("work")
    async def work() -> None: ...

    async with Bed("inmemory", "separate", tmp_path) as bed:
        put = bed.state.put

        async def held_up(key: str, *args: Any, **options: Any) -> int:
            if written.is_set():
                await go_on.wait()
            revision = await put(key, *args, **options)
            if key.startswith("hist/"):
                written.set()
            return revision

        monkeypatch.setattr(bed.state, "put", held_up)
        workflow = await bed.dispatch([ActivitySpec("work")])
        async with bed.worker(work):
            await written.wait()
            assert await bed.steps(workflow) == []
            go_on.set()
            assert (await bed.outcome(workflow)).status == "completed"
        assert await bed.steps(workflow) == [("work", "do", "ok")]


async def test_a_store_handed_out_twice_is_the_same_store(tmp_path: Path) -> None:
    async with Bed("sqlite", "shared", tmp_path) as bed:
        assert bed.transport.state_store() is bed.transport.state_store()


async def test_separate_mode_keeps_the_envelope_of_a_cursor_that_had_none(tmp_path: Path) -> None:
    """Dispatched in shared mode, worked on in separate mode: the copy in the broker is the only one."""
    begun, finish = asyncio.Event(), asyncio.Event()

    @activity("slow")
    async def slow() -> str:
        begun.set()
        await finish.wait()
        return "done"

    async with Bed("sqlite", "shared", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("slow")])
        other = Bed("sqlite", "shared", tmp_path)
        async with other, other.make_transport() as apart:
            store = apart.state_store()
            async with bed.worker(slow, state_store=store, grace=0.0):
                await begun.wait()
                entry = await bed.state.get(BranchKeys.of(workflow).cursor)
                assert entry is not None
                assert Cursor.decode(entry.value).out.startswith(b'{"v":1')
            finish.set()
            async with bed.worker(slow, state_store=store), WorkflowClient(bed.transport, state_store=store) as client:
                assert (await client.result(workflow, timeout=15)).results == {"slow": "done"}
        assert await bed.all_dead() == []


@pytest.mark.parametrize("mode", ["shared", "separate"])
async def test_a_registration_is_found_whoever_made_it(tmp_path: Path, mode: Any) -> None:
    """What the attempt of one worker registered, that of the next one takes with it, though it registers nothing."""
    undone: list[int] = []
    registered = asyncio.Event()

    @activity("charge", queue="q", retry=NO_RETRY)
    async def charge(ctx: ActivityContext) -> None:
        if registered.is_set():
            raise PermanentFault("no")
        await ctx.register_compensation(number=1)
        registered.set()
        await asyncio.Event().wait()

    @charge.compensate
    def refund(number: int) -> None:
        undone.append(number)

    async with Bed("inmemory", mode, tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("charge", queue="q")])
        async with bed.worker(charge, grace=0.0):
            await registered.wait()
        async with bed.worker(charge):
            assert (await bed.outcome(workflow)).status == "compensated"
    assert undone == [1]


async def test_a_thread_that_outlives_its_attempt_can_register_nothing(stored: Bed) -> None:
    wake, ended, told = threading.Event(), threading.Event(), []

    @activity("charge", retry=NO_RETRY, timeout=0.2)
    def charge(ctx: ActivityContext) -> None:
        wake.wait(15)
        try:
            ctx.sync.register_compensation(number=1)
        except PermanentFault as exc:
            told.append(str(exc))
        ended.set()

    @charge.compensate
    def refund(number: int) -> None: ...

    outcome = await stored.run([ActivitySpec("charge")], charge)
    wake.set()
    await until(ended.is_set)
    assert outcome.status == "failed"
    assert "is over" in told[0]


async def test_compensation_data_that_cannot_be_carried_is_refused_before_the_effect(stored: Bed) -> None:
    effects: list[int] = []

    @activity("charge", retry=RetryPolicy(attempts=3, first_delay=0.01))
    async def charge(ctx: ActivityContext) -> None:
        await ctx.register_compensation(amount=float("nan"))
        effects.append(1)

    @charge.compensate
    def refund(amount: float) -> None: ...

    outcome = await stored.run([ActivitySpec("charge")], charge)
    assert (outcome.status, effects) == ("failed", [])
    assert outcome.fault is not None
    assert outcome.fault.error == "SerializationError"


async def test_an_unfinished_envelope_in_the_reply_queue_proves_nothing(storeless: Bed) -> None:
    workflow = await storeless.dispatch([ActivitySpec("nobody")])
    [message] = await storeless.transport.peek("nobody")
    await storeless.transport.publish(Publication((await storeless.inbox()).address(), message))
    with pytest.raises(ResultTimeout):
        await storeless.outcome(workflow, timeout=0.3)


async def test_an_old_copy_after_expiry_does_not_end_the_workflow_with_old_state(tmp_path: Path) -> None:
    clock = VirtualClock()

    @activity("one")
    async def one() -> int:
        return 1

    @activity("two")
    async def two() -> int:
        return 2

    async with Bed("inmemory", "shared", tmp_path, clock=clock) as bed:
        async with bed.dispatcher(clock=clock) as dispatcher, bed.client(clock=clock) as client:
            slip = [ActivitySpec("one"), ActivitySpec("two")]
            workflow = await dispatcher.dispatch_workflow(slip, expires=60)
            [copy] = await bed.transport.peek("one")
            async with bed.worker(one, clock=clock):
                await until(lambda: _moved(bed, "two"))
                await clock.advance(200)
                await bed.transport.publish(Publication("one", copy))
                await until(lambda: _empty(bed, "one"))
                assert (await client.status(workflow)).state == "ready"
            async with bed.worker(two, clock=clock):
                outcome = await client.outcome(workflow)
        assert (outcome.status, dict(outcome.results)) == ("expired", {"one": 1})


async def _moved(bed: Bed, queue: str) -> bool:
    return (await bed.transport.queues(queue))[queue].ready == 1


async def _empty(bed: Bed, queue: str) -> bool:
    stats = (await bed.transport.queues(queue))[queue]
    return stats.ready == 0 and not stats.in_flight


async def test_a_poisoned_workflow_is_told_of(memory: Bed) -> None:
    @activity("echo")
    async def echo() -> None: ...

    recorder = Recorder()
    workflow = await memory.dispatch([ActivitySpec("echo")])
    async with memory.transport.consume(["echo"], lease=30.0) as consumer:
        for _ in range(MAX_CRASHES):
            [delivery] = await consumer.receive(1)
            await delivery.release()
    async with memory.worker(echo, observers=[recorder]), memory.client() as client:
        await until(lambda: bool(recorder.of(WorkflowParked)))
        await until(lambda: _parked(client, workflow))
    assert recorder.kinds() == ["WorkflowParked"]


async def _parked(client: WorkflowClient, workflow: str) -> bool:
    return (await client.status(workflow)).parked == "poison"


async def test_a_wait_longer_than_the_workflow_lives_is_looked_at_when_it_has_expired(stored: Bed) -> None:
    @activity("later")
    async def later() -> None:
        raise RetryAfter(7 * 86_400)

    async with stored.worker(later), stored.client() as client, stored.dispatcher() as dispatcher:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("later")], expires=60)
        await until(lambda: _waits(client, workflow))
        entry = await stored.state.get(BranchKeys.of(workflow).cursor)
    assert entry is not None
    assert entry.due is not None
    assert entry.due <= Cursor.decode(entry.value).exp + 301.0


async def _waits(client: WorkflowClient, workflow: str) -> bool:
    return (await client.status(workflow)).state == "waiting"


async def test_a_copy_for_later_has_an_id_of_its_own(memory: Bed) -> None:
    """A transport that drops repeated ids must not take it for the original."""

    @activity("other", queue="q")
    async def other() -> None: ...

    await memory.dispatch([ActivitySpec("absent", queue="q")])
    [original] = await memory.transport.peek("q")
    clock = VirtualClock()
    async with memory.worker(other, clock=clock):
        await until(lambda: _delayed(memory, "q"))
    async with memory.transport.consume(["q"], lease=30.0) as consumer:
        async with asyncio.timeout(15):
            [delivery] = await consumer.receive(1)
        assert delivery.message.body == original.body
        assert delivery.message.id != original.id


async def _delayed(bed: Bed, queue: str) -> bool:
    return bool((await bed.transport.queues(queue))[queue].delayed)


async def test_a_copy_of_a_hop_that_waits_in_the_store_is_dropped(tmp_path: Path) -> None:
    clock, attempts = VirtualClock(), []

    @activity("late", retry=RetryPolicy(attempts=2, first_delay=60, jitter=False))
    async def late(ctx: ActivityContext) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("not yet")

    for mode in STORED:
        attempts.clear()
        async with Bed("inmemory", mode, tmp_path, clock=clock) as bed, bed.client(clock=clock) as client:
            async with bed.dispatcher(clock=clock) as dispatcher:
                workflow = await dispatcher.dispatch_workflow([late.spec()])
            [copy] = await bed.transport.peek("late")
            async with bed.worker(late, clock=clock):
                await until(lambda client=client, workflow=workflow: _waits(client, workflow))
                await bed.transport.publish(Publication("late", copy))
                await until(lambda bed=bed: _empty(bed, "late"))
                assert not await _delayed(bed, "late")
                await clock.advance(65)
                assert (await client.outcome(workflow, timeout=15)).status == "completed"
        assert attempts == [1, 2]


async def test_history_where_only_the_broker_holds_the_envelope_tells_what_it_can(memory: Bed) -> None:
    @activity("one")
    async def one() -> None: ...

    workflow = await memory.dispatch([ActivitySpec("one"), ActivitySpec("nobody")])
    async with memory.worker(one):
        await until(lambda: _moved(memory, "nobody"))
    [entry] = await memory.state.scan("hist/")
    await memory.state.put(entry.key[:-22] + "x" * 22, entry.value.replace(b'"worker":"', b'"worker":"stale '))
    await memory.state.put(BranchKeys.of(workflow).history(1, "y" * 22), entry.value.replace(b'"seq":0', b'"seq":1'))
    async with memory.client() as client:
        [told] = await client.history(workflow)
    assert (told.seq, told.worker.startswith("stale")) == (0, False)


async def test_an_entry_of_the_history_that_cannot_be_read_is_left_out(memory: Bed) -> None:
    @activity("one")
    async def one() -> None: ...

    workflow = "w"
    await memory.run([ActivitySpec("one")], one, correlation_id=workflow)
    [told] = await memory.state.scan("hist/")
    wrong = told.value.replace(b'"seq":0', b'"seq":[0]')
    for number, entry in enumerate([b"", b"not json", b"[" * 100_000, b'{"seq":1}', wrong]):
        await memory.state.put(BranchKeys.of(workflow).history(number + 1, "x" * 22), entry)
    assert await memory.steps(workflow) == [("one", "do", "ok")]
