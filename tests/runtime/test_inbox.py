"""The inbox under stress: who shares it, who leaves, and what goes wrong in its task."""

from __future__ import annotations

import asyncio
import secrets
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paigeant import ActivitySpec, WorkflowClient, activity
from paigeant.abc import SystemClock
from paigeant.builtin.hs256.keys import Hs256Key
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.envelope.security import Security
from paigeant.errors import BackendClosed, BackendUnavailable, NotYetValid, SignerUnavailable, UnknownKey
from paigeant.model.message import Message, Publication
from paigeant.runtime import environment
from paigeant.runtime import inbox as inbox_module

from ..support import PATIENCE, Bed, until

SECRET = b"s" * 32


@pytest.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with Bed("inmemory", "none", tmp_path) as bed:
        yield bed


@activity("work")
def work() -> int:
    return 7


SLIP = [ActivitySpec("work")]


class Held(Hs256Key):
    """A key that is out of reach once its holder has closed it."""

    def __init__(self) -> None:
        super().__init__(SECRET, "acme")
        self.open = False

    async def __aenter__(self) -> Held:
        self.open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.open = False

    async def sign(self, signing_input: bytes) -> bytes:
        return await super().sign(signing_input) if self.open else await self._out_of_reach()

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return await super().verify(signing_input, signature) if self.open else bool(await self._out_of_reach())

    async def _out_of_reach(self) -> bytes:
        raise SignerUnavailable("the key is out of reach")


def held() -> Security:
    key = Held()
    return Security.build("default", signers=[key], verifiers=[key])


def inbox_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task.get_name() == "paigeant inbox"}


def failing_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The next look at a reply fails."""
    failures = [error]
    opening = environment.open_envelope

    async def open_envelope(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return await opening(*args, **kwargs)

    monkeypatch.setattr(environment, "open_envelope", open_envelope)


@pytest.mark.parametrize("error", [SignerUnavailable, BackendUnavailable, NotYetValid, UnknownKey])
async def test_a_trouble_that_heals_costs_no_outcome(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(inbox_module, "AGAIN_AFTER", 0.01, raising=False)
    monkeypatch.setattr(inbox_module, "LEASE", 0.5)
    failing_once(monkeypatch, error("for now"))
    assert (await bed.run(SLIP, work)).status == "completed"


class Corrected(SystemClock):
    def __init__(self, by: float) -> None:
        self.by = by

    def time(self) -> float:
        return super().time() + self.by


async def test_news_of_expiry_wait_for_a_clock_that_is_behind(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inbox_module, "AGAIN_AFTER", 0.01)
    clock = Corrected(-3600.0)
    async with bed.worker(work, clock=Corrected(0.0)), bed.client(clock=clock) as client:
        async with bed.dispatcher(clock=clock) as dispatcher:
            workflow = await dispatcher.dispatch_workflow(SLIP, expires=60)
        asking = asyncio.ensure_future(client.outcome(workflow, timeout=PATIENCE))
        await until(lambda: "trying again" in caplog.text)
        clock.by = 0.0
        assert (await asking).status == "expired"


async def test_a_message_that_never_heals_is_dropped(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "AGAIN_AFTER", 0.0, raising=False)
    monkeypatch.setattr(inbox_module, "ATTEMPTS", 5, raising=False)
    looks = 0

    async def open_envelope(*_: Any, **__: Any) -> Any:
        nonlocal looks
        looks += 1
        raise UnknownKey("no such key")

    monkeypatch.setattr(environment, "open_envelope", open_envelope)
    async with bed.client() as client:
        asking = asyncio.ensure_future(client.outcome("unheard-of"))
        await until(lambda: bool(inbox_tasks()))
        env = await client._session.open()
        inbox = inbox_module.Inbox.of(env)
        await bed.transport.publish(Publication(inbox.address(), Message("m", b"?")))
        await until(lambda: looks == 5)

        async def gone() -> bool:
            stats = (await bed.transport.queues(inbox.address()))[inbox.address()]
            return not stats.ready and not stats.in_flight and not stats.delayed

        await until(gone)
        assert looks == 5
        asking.cancel()


async def test_an_error_nobody_expects_is_told_and_the_next_question_begins_anew(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inbox_module, "LEASE", 0.2)
    failing_once(monkeypatch, ZeroDivisionError("oops"))
    async with bed.worker(work), bed.client() as client:
        workflow = await bed.dispatch(SLIP)
        with pytest.raises(ZeroDivisionError):
            await client.outcome(workflow, timeout=PATIENCE)
        assert "oops" in caplog.text
        assert (await client.outcome(workflow, timeout=PATIENCE)).status == "completed"


async def test_who_waits_when_the_client_is_closed_is_told(bed: Bed) -> None:
    client = bed.client()
    asking = asyncio.ensure_future(client.outcome("unheard-of"))
    await until(lambda: bool(inbox_tasks()))
    await client.close()
    with pytest.raises(BackendClosed):
        async with asyncio.timeout(PATIENCE):
            await asking
    assert not inbox_tasks()


async def test_so_it_is_although_another_client_waits_on(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    client = bed.client()
    async with bed.client() as other:
        asking, waiting = (asyncio.ensure_future(one.outcome("w-1", timeout=PATIENCE)) for one in (client, other))
        await until(lambda: caplog.text.count("waiting for workflow w-1") == 2)
        await client.close()
        async with asyncio.timeout(PATIENCE / 2):
            with pytest.raises(BackendClosed, match="the client was closed"):
                await asking
        async with bed.worker(work):
            await bed.dispatch(SLIP, correlation_id="w-1")
            assert (await waiting).status == "completed"


async def test_who_waits_where_no_outcome_can_come_is_warned(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    async with bed.client() as client:
        asking = asyncio.ensure_future(client.outcome("w-1", timeout=PATIENCE))
        await until(lambda: "w-1, but none was dispatched through this transport instance" in caplog.text)
        async with bed.worker(work):
            await bed.dispatch(SLIP, correlation_id="w-1")
            assert (await asking).status == "completed"
            caplog.clear()
            assert (await client.outcome(await bed.dispatch(SLIP), timeout=PATIENCE)).status == "completed"
    assert "instance" not in caplog.text


async def test_a_client_goes_on_after_its_transport_was_connected_again(bed: Bed) -> None:
    async with bed.client() as client:
        async with bed.worker(work):
            first = await bed.dispatch(SLIP)
            assert (await client.outcome(first, timeout=PATIENCE)).status == "completed"
        await bed.transport.disconnect()
        await until(lambda: not inbox_tasks())
        await bed.transport.connect()
        async with bed.worker(work):
            second = await bed.dispatch(SLIP)
            assert (await client.outcome(second, timeout=PATIENCE)).status == "completed"


async def test_the_keys_of_a_client_that_has_left_are_not_asked(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "AGAIN_AFTER", 0.01, raising=False)
    async with bed.client(security=held()) as staying:
        leaving = bed.client(security=held())
        questions = [asyncio.ensure_future(client.outcome("w-1", timeout=PATIENCE)) for client in (leaving, staying)]
        await until(lambda: bool(inbox_tasks()))
        await asyncio.sleep(0)
        questions[0].cancel()
        await leaving.close()
        async with bed.dispatcher(security=held()) as dispatcher, bed.worker(work, security=held()):
            await dispatcher.dispatch_workflow(SLIP, correlation_id="w-1")
            assert (await questions[1]).status == "completed"
    assert not inbox_tasks()


async def test_who_trusts_others_has_another_inbox(bed: Bed) -> None:
    async with bed.client(security=Security.insecure("default", store="none")) as lax, bed.client() as strict:
        envs = [await client._session.open() for client in (lax, strict)]
        lax_inbox, strict_inbox = map(inbox_module.Inbox.of, envs)
        assert lax_inbox.address() != strict_inbox.address()
        async with bed.client() as another:
            assert inbox_module.Inbox.of(await another._session.open()) is strict_inbox


async def test_closing_that_is_cancelled_is_cancelled_and_leaves_no_task(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    settling, go_on = asyncio.Event(), asyncio.Event()

    async def settle(_: Any) -> None:
        settling.set()
        await go_on.wait()

    monkeypatch.setattr(inbox_module, "_settle", settle)
    client = bed.client()
    async with bed.worker(work):
        workflow = await bed.dispatch(SLIP)
        await client.outcome(workflow, timeout=PATIENCE)
        await settling.wait()
        closing = asyncio.ensure_future(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not inbox_tasks()


async def test_clients_that_come_and_go_at_once_leave_nothing(bed: Bed) -> None:
    async def ask(number: int) -> str:
        async with bed.client() as client, bed.dispatcher() as dispatcher:
            workflow = await dispatcher.dispatch_workflow(SLIP, correlation_id=f"w-{number}")
            return (await client.outcome(workflow, timeout=PATIENCE)).status

    async with bed.worker(work):
        assert await asyncio.gather(*map(ask, range(40))) == ["completed"] * 40
    assert not inbox_tasks()


@pytest.mark.parametrize("turns", range(6))
async def test_who_begins_to_wait_as_the_one_who_receives_leaves_is_not_received_for_twice(
    bed: Bed, turns: int
) -> None:
    """The first of two tasks would be forgotten, and receive on with keys that are closed."""

    async def ask(client: WorkflowClient, workflow: str) -> None:
        await client.outcome(workflow, timeout=PATIENCE)

    async with bed.client() as staying:
        leaving = bed.client()
        asked = [asyncio.create_task(ask(leaving, "w-1"))]
        await until(lambda: bool(inbox_tasks()))
        asked.append(asyncio.create_task(ask(staying, "w-2")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(leaving.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(ask(staying, "w-3")))
        await closing
        await until(lambda: bool(inbox_tasks()))
        assert len(inbox_tasks()) == 1
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    assert not inbox_tasks()


@dataclass
class Comparable(InMemoryTransport):
    """A transport that compares by value, and so cannot be hashed."""

    name: str

    def __post_init__(self) -> None:
        InMemoryTransport.__init__(self, f"inmemory://{self.name}")


async def test_transports_need_not_be_hashable_and_equal_ones_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    name = secrets.token_hex(4)
    bed = Bed("inmemory", "none", tmp_path)
    bed.transport = Comparable(name)
    async with bed.transport, Comparable(name) as equal:
        assert (await bed.run(SLIP, work)).status == "completed"
        other = Bed("inmemory", "none", tmp_path)
        other.transport = equal
        async with bed.client() as one, other.client() as two:
            inboxes = [inbox_module.Inbox.of(await client._session.open()) for client in (one, two)]
            assert inboxes[0] is not inboxes[1]


async def test_outcomes_are_kept_in_little_more_than_their_bytes(bed: Bed) -> None:
    async with bed.worker(work), bed.dispatcher() as dispatcher, bed.client() as client:

        async def run(count: int) -> None:
            for _ in range(count):
                await client.outcome(await dispatcher.dispatch_workflow(SLIP), timeout=PATIENCE)

        env = await client._session.open()
        env.security.verified.add = env.security.verified.sealed = lambda _: None  # type: ignore[method-assign]
        inbox = inbox_module.Inbox.of(env)
        await run(10)
        before = inbox._size
        tracemalloc.start()
        try:
            await run(100)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 3 * (inbox._size - before)


async def test_an_outcome_may_be_asked_for_again_and_late(bed: Bed) -> None:
    async with bed.worker(work), bed.client() as client:
        workflow = await bed.dispatch(SLIP)
        assert (await client.outcome(workflow, timeout=PATIENCE)).results == {"work": 7}
        assert (await client.outcome(workflow, timeout=PATIENCE)).results == {"work": 7}
        async with bed.client() as another:
            assert (await another.outcome(workflow, timeout=PATIENCE)).results == {"work": 7}
