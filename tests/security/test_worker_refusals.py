"""Messages that must not be trusted: dead-lettered once, untouched, and the worker goes on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from paigeant import ActivitySpec, DeadLetters, WorkflowDispatcher, activity
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.envelope import Security
from paigeant.model.events import MessageDeadLettered
from paigeant.model.message import Message, Publication
from paigeant.runtime import reception

from ..core.records_kit import signed
from ..support import Bed, Recorder, until
from .forge import CHAIN_CASES, HEADERS, ORIGIN_CASES, OURS, THEIRS, edited, security

SLIP = [ActivitySpec("first", {"value": 1}), ActivitySpec("second"), ActivitySpec("third")]


class Served:
    """Three activities that count their runs."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.activities = [self._make(name) for name in ("first", "second", "third")]

    def _make(self, name: str) -> Any:
        @activity(name)
        async def step(value: int = 0) -> str:
            self.ran.append(name)
            return name

        return step


async def arrived(bed: Bed, queue: str) -> None:
    """Wait until one message is ready there."""

    async def there() -> bool:
        return (await bed.transport.queues(queue))[queue].ready == 1

    await until(there)


async def taken(bed: Bed, queue: str) -> Message:
    """The one message of ``queue``, taken out of it."""
    (message,) = await bed.transport.peek(queue)
    await bed.transport.purge(queue)
    return message


async def sample(bed: Bed, queue: str, **options: Any) -> Message:
    """A good message of ``queue``, taken out of it."""
    options.setdefault("security", security())
    served = Served()
    async with bed.dispatcher(**options) as dispatcher:
        await dispatcher.dispatch_workflow(SLIP)
    if queue != "first":
        earlier = served.activities[: {"second": 1, "third": 2}[queue]]
        async with bed.worker(*earlier, security=options["security"]):
            await arrived(bed, queue)
    return await taken(bed, queue)


async def assert_refused_once(
    bed: Bed, queue: str, bad: Message, error: str, *, waited: bool = False, **worker: Any
) -> None:
    """``waited``: it was put back for later first, as a copy under another id."""
    served, recorder = Served(), Recorder()
    keys = worker.pop("security", None) or security()
    await bed.transport.publish(Publication(queue, bad))
    async with bed.worker(*served.activities, security=keys, observers=[recorder], **worker):
        await until(lambda: bool(recorder.of(MessageDeadLettered)))
        async with bed.dispatcher(security=keys) as dispatcher, bed.client(security=keys) as client:
            outcome = await client.outcome(await dispatcher.dispatch_workflow(SLIP), timeout=10)
            assert outcome.status == "completed", "the worker goes on"
    assert served.ran == ["first", "second", "third"], "what is refused does not run"
    async with DeadLetters(bed.transport) as dead:
        (letter,) = await dead.list()
    assert (letter.queue, letter.error) == (queue, error)
    assert letter.message.body == bad.body, "the bytes are untouched"
    assert (letter.message.id != bad.id) is waited
    assert letter.digest == hashlib.sha256(bad.body).hexdigest()
    assert bad.headers.items() <= letter.message.headers.items()
    assert [(event.queue, event.error) for event in recorder.of(MessageDeadLettered)] == [(queue, error)]


@pytest.mark.parametrize("case", ORIGIN_CASES)
async def test_what_cannot_be_read_or_verified_is_refused(memory: Bed, case: str) -> None:
    make, error = ORIGIN_CASES[case]
    await assert_refused_once(memory, "first", make(await sample(memory, "first")), error)


@pytest.mark.parametrize("case", CHAIN_CASES)
async def test_a_chain_that_is_not_the_one_that_was_signed_is_refused(memory: Bed, case: str) -> None:
    change, error = CHAIN_CASES[case]
    await assert_refused_once(memory, "third", edited(await sample(memory, "third"), change), error)


@pytest.mark.parametrize("case", ["too large", "a payload changed", "a value changed", "no content type"])
async def test_the_same_on_every_backend_in_every_mode(bed: Bed, case: str) -> None:
    make, error = ORIGIN_CASES[case]
    await assert_refused_once(bed, "first", make(await sample(bed, "first")), error)


async def test_a_message_in_the_wrong_queue_is_refused(bed: Bed) -> None:
    await assert_refused_once(bed, "second", await sample(bed, "first"), "AudienceMismatch")


async def test_a_message_of_another_namespace_is_refused(bed: Bed) -> None:
    """Signed with the same key: a key shared by two namespaces does not join them."""
    elsewhere = InMemoryTransport("inmemory://elsewhere", namespace="elsewhere")
    keys = signed(OURS, namespace="elsewhere")
    async with elsewhere, WorkflowDispatcher(elsewhere, security=keys) as dispatcher:
        await dispatcher.dispatch_workflow(SLIP)
        (message,) = await elsewhere.peek("first")
        await elsewhere.purge("first")
    await assert_refused_once(bed, "first", message, "AudienceMismatch")


async def test_a_signed_message_is_refused_by_an_unsigned_namespace(memory: Bed) -> None:
    message = await sample(memory, "first")
    insecure = Security.insecure("default", store="store")
    await assert_refused_once(memory, "first", message, "PolicyNotSatisfied", security=insecure)


async def test_an_unsigned_message_is_refused_by_a_signed_namespace(memory: Bed) -> None:
    message = await sample(memory, "first", security=Security.insecure("default", store="store"))
    await assert_refused_once(memory, "first", message, "MissingSignature")


async def worked_apart(bed: Bed, step: Any, message: Message, queue: str, successor: str) -> Message:
    """What a worker makes of a message in a place without a memory."""
    place = Bed("inmemory", "shared", bed.directory)
    async with place, place.worker(step, security=security()):
        await place.transport.publish(Publication(queue, message))
        await arrived(place, successor)
        return await taken(place, successor)


async def forked(bed: Bed) -> tuple[Message, Message]:
    """Two different second hops of one workflow, both well signed."""
    first = await sample(bed, "first")
    results = iter(["one", "another"])

    @activity("first")
    async def differs(value: int) -> str:
        return next(results)

    one = await worked_apart(bed, differs, first, "first", "second")
    return one, await worked_apart(bed, differs, first, "first", "second")


async def test_a_forked_history_is_refused(stored: Bed) -> None:
    """Somebody who holds the key signed two different second hops."""
    ours, forged = await forked(stored)
    served, recorder = Served(), Recorder()
    await stored.transport.publish(Publication("second", ours))
    async with stored.worker(served.activities[1], security=security()):
        await arrived(stored, "third")
        # An older position: the history committed since tells it apart only where it is compared.
        await stored.transport.publish(Publication("second", forged))

        async def gone() -> bool:
            stats = (await stored.transport.queues("second"))["second"]
            return not stats.ready and not stats.in_flight

        await until(gone)
    assert served.ran == ["second"]
    message, *_ = await stored.transport.peek("third")  # in separate mode the older one had it sent again
    await stored.transport.purge("third")
    forged_third = await worked_apart(stored, Served().activities[1], forged, "second", "third")
    assert message.body != forged_third.body
    await stored.transport.publish(Publication("third", forged_third))
    async with stored.worker(*served.activities, security=security(), observers=[recorder]):
        await until(lambda: bool(recorder.of(MessageDeadLettered)))
    assert await stored.dead("third") == ["ForkDetected"]
    assert served.ran == ["second"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of the ten minutes that a key or a clock has to be put right."""
    monkeypatch.setattr(reception, "ODD_DELAY", 0.05)
    monkeypatch.setattr(reception, "ODD_PATIENCE", 0.5)


@pytest.mark.usefixtures("impatient")
async def test_an_unknown_key_is_waited_for_then_refused(bed: Bed) -> None:
    message = await sample(bed, "first", security=security(THEIRS))
    await assert_refused_once(bed, "first", message, "UnknownKey", waited=True)


async def test_a_key_that_arrives_in_time_is_in_time(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "ODD_DELAY", 0.05)
    message = await sample(bed, "first", security=security(THEIRS))
    served = Served()
    await bed.transport.publish(Publication("first", message))
    async with bed.worker(*served.activities, security=security(OURS)):

        async def waits() -> bool:
            return bool((await bed.transport.queues("first"))["first"].delayed)

        await until(waits)
    assert served.ran == []
    both = security(OURS, THEIRS, required=["mallory"])
    async with bed.worker(*served.activities, security=both):
        await until(lambda: served.ran == ["first", "second", "third"])
    assert await bed.all_dead() == []


class Offset:
    """The clock of the machine, wrong by so many seconds."""

    def __init__(self, offset: float) -> None:
        self.offset = offset

    def __getattr__(self, name: str) -> Any:
        from paigeant.abc import SystemClock

        return getattr(SystemClock(), name)

    def time(self) -> float:
        import time

        return time.time() + self.offset


@contextmanager
def an_hour_ahead(bed: Bed) -> Generator[Offset]:
    """Clocks of a machine and of its store."""
    store = type(bed.state)
    now = store.now

    async def ahead(state: Any) -> float:
        return await now(state) + 3600

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "now", ahead)
        yield Offset(3600)


async def from_the_future(bed: Bed) -> str:
    with an_hour_ahead(bed) as clock:
        async with bed.dispatcher(security=security(), clock=clock) as dispatcher:
            return await dispatcher.dispatch_workflow(SLIP)


@pytest.mark.usefixtures("impatient")
async def test_a_workflow_from_the_future_is_parked(stored: Bed) -> None:
    workflow = await from_the_future(stored)
    served = Served()
    async with stored.worker(*served.activities, security=security()), stored.client(security=security()) as client:

        async def parked() -> bool:
            return (await client.status(workflow)).state == "parked"

        await until(parked)
        (status,) = await client.parked()
        assert (status.correlation_id, status.parked) == (workflow, "NotYetValid")
        assert served.ran == []
    assert await stored.all_dead() == []
    async with stored.client(security=security()) as client:
        await client.resume(workflow)
        with an_hour_ahead(stored) as clock:
            async with stored.worker(*served.activities, security=security(), clock=clock):
                await until(lambda: served.ran == ["first", "second", "third"])


@pytest.mark.usefixtures("impatient")
async def test_without_a_store_a_workflow_from_the_future_is_dead_lettered(storeless: Bed) -> None:
    await from_the_future(storeless)
    served, recorder = Served(), Recorder()
    async with storeless.worker(*served.activities, security=security(), observers=[recorder]):

        async def dead() -> bool:
            return bool(await storeless.all_dead())

        await until(dead)
    assert await storeless.dead("first") == ["NotYetValid"]
    assert served.ran == []


@pytest.mark.usefixtures("impatient")
async def test_a_message_from_the_future_in_the_wrong_queue_is_refused_in_the_end(stored: Bed) -> None:
    await from_the_future(stored)
    (message,) = await stored.transport.peek("first")
    await stored.transport.purge("first")
    await assert_refused_once(stored, "second", message, "AudienceMismatch", waited=True)


async def test_dead_letters_are_replayed_byte_for_byte_and_purged(bed: Bed) -> None:
    message = await sample(bed, "first", security=security(THEIRS))
    bad = [Message(f"bad-{n}", b"junk", HEADERS) for n in range(3)]
    refused = Message(message.id, message.body, {**message.headers, "paigeant-error": "UnknownKey"})
    await bed.transport.publish(Publication("first.dead", refused), *(Publication("first", one) for one in bad))
    served = Served()
    async with bed.worker(*served.activities, security=security()), DeadLetters(bed.transport) as dead:

        async def all_there() -> bool:
            return len(await dead.list("first")) == 4

        await until(all_there)
        assert await dead.queues() == ["first"]
        assert {letter.id for letter in await dead.list(limit=2)} < {message.id, *(one.id for one in bad)}
    both = security(OURS, THEIRS, required=["mallory"])
    async with bed.worker(*served.activities, security=both), DeadLetters(bed.transport) as dead:
        assert await dead.replay("first", [message.id, "no such id"]) == 1
        await until(lambda: served.ran == ["first", "second", "third"])
        assert sorted(letter.id for letter in await dead.list("first")) == [one.id for one in bad]
        assert await dead.replay("first") == 3

        async def back() -> bool:
            return len(await dead.list("first")) == 3

        await until(back)
        assert await dead.purge("first") == 3
        assert await dead.list() == []
        assert await dead.queues() == []


async def test_junk_in_every_form_harms_no_worker(bed: Bed) -> None:
    """A flood: more than the worker has slots."""
    served = Served()
    junk = [Message(f"junk-{n}", bytes([n % 256]) * n, HEADERS if n % 2 else {}) for n in range(150)]
    await bed.transport.publish(*(Publication("first", one) for one in junk))
    async with bed.worker(*served.activities, security=security(), concurrency=8):
        async with bed.dispatcher(security=security()) as dispatcher, bed.client(security=security()) as client:
            workflow = await dispatcher.dispatch_workflow(SLIP)
            assert (await client.outcome(workflow, timeout=15)).status == "completed"

        async def all_dead() -> bool:
            return (await bed.transport.queues("first.dead"))["first.dead"].ready == 150

        await until(all_dead)


async def test_two_replays_at_once_send_each_message_once_and_end(bed: Bed) -> None:
    junk = [Publication("first.dead", Message(f"junk-{n}", b"junk", HEADERS)) for n in range(20)]
    await bed.transport.publish(*junk)
    async with DeadLetters(bed.transport) as dead:
        counts = await asyncio.gather(dead.replay("first"), dead.replay("first"))
    assert sum(counts) == 20
    assert (await bed.transport.queues("first"))["first"].ready == 20
