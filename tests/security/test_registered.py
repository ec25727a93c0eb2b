"""Data registered for compensation waits in the state store: who can write there must not choose what is undone."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.json import encode

from paigeant import ActivityContext, ActivitySpec, PermanentFault, activity
from paigeant.envelope import Opened, Security, open_envelope, seal_origin
from paigeant.envelope.registered import open_registered, seal_registered
from paigeant.errors import ChainError, HeaderError, UntrustedSigner
from paigeant.model.records import Step
from paigeant.plugins import PluginRegistry
from paigeant.state.ids import ROOT, BranchKeys

from ..core.records_kit import LIMIT, NOW, Json, Key, Values, message, signed
from ..support import NO_RETRY, PATIENCE, QUICK, Bed, until
from .forge import claims, flipped


def recorded(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """The stored bytes with the JSON of their record changed."""

    def changed(stored: bytes) -> bytes:
        text, _, data = stored.partition(b"\n")
        record = json.loads(text)
        change(record)
        return json.dumps(record).encode() + b"\n" + data

    return changed


def sign_flipped(record: dict[str, Any]) -> None:
    record["signatures"][0]["signature"] = flipped(record["signatures"][0]["signature"])


FORGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "data without a record": (lambda _: b'[{"account":"mallory"}]', "EnvelopeFormatError"),
    "garbage": (lambda _: b"\xff\xfe", "EnvelopeFormatError"),
    "nothing": (lambda _: b"", "EnvelopeFormatError"),
    "other data": (lambda stored: stored.replace(b"alice", b"mallo"), "PayloadMismatch"),
    "no data": (lambda stored: stored.partition(b"\n")[0], "PayloadMismatch"),
    "a claim changed": (recorded(lambda record: claims(record, seq=7)), "BadSignature"),
    "a signature changed": (recorded(sign_flipped), "BadSignature"),
    "signatures stripped": (recorded(lambda record: record.update(signatures=[])), "MissingSignature"),
}


@pytest.mark.parametrize(("forge", "error"), FORGED.values(), ids=FORGED.keys())
async def test_forged_data_is_never_undone_and_parks_the_step_until_it_is_gone(
    stored: Bed, forge: Callable[[bytes], bytes], error: str
) -> None:
    key = BranchKeys.of("w").compensation(0)
    undone: list[str] = []
    runs = itertools.count()

    @activity(retry=QUICK)
    async def charge(ctx: ActivityContext) -> None:
        if next(runs):
            raise PermanentFault("no")
        await ctx.register_compensation(account="alice")
        entry = await stored.state.get(key)
        assert entry is not None
        await stored.state.put(key, forge(entry.value))
        raise ValueError("again")

    @charge.compensate
    async def refund(account: str) -> None:
        undone.append(account)

    async with stored.worker(charge), stored.client() as client:
        await stored.dispatch([ActivitySpec("charge")], correlation_id="w")

        async def parked() -> bool:
            return (await client.status("w")).state == "parked"

        await until(parked)
        assert (await client.status("w")).parked.startswith(f"{error}: ")
        await stored.state.delete(key)
        await client.resume("w")
        assert (await client.outcome("w", timeout=10)).status == "failed"
    assert undone == []


async def test_data_put_there_before_the_first_attempt_is_not_added_to(stored: Bed) -> None:
    """And an activity that survives the refusal is not recorded without what it has asked for."""
    await stored.state.put(BranchKeys.of("w").compensation(0), b'[{"account":"mallory"}]')

    @activity(retry=NO_RETRY)
    async def charge(ctx: ActivityContext) -> None:
        with pytest.raises(Exception, match="stored compensation data"):
            await ctx.register_compensation(account="alice")

    @charge.compensate
    async def refund(account: str) -> None: ...

    async with stored.worker(charge), stored.client() as client:
        await stored.dispatch([ActivitySpec("charge")], correlation_id="w")

        async def parked() -> bool:
            return (await client.status("w")).state == "parked"

        await until(parked)
    assert await stored.steps("w") == []


async def test_an_activity_that_registers_nothing_gets_nothing_from_elsewhere(stored: Bed) -> None:
    """Genuine data of another workflow is foreign data here."""

    @activity(retry=NO_RETRY)
    async def charge(ctx: ActivityContext, register: bool) -> None:
        if register:
            await ctx.register_compensation(account="alice")

    @charge.compensate
    async def refund(account: str) -> None: ...

    async with stored.worker(charge), stored.client() as client:
        await stored.dispatch([charge.spec(register=True)], correlation_id="w1")
        await client.result("w1", timeout=10)
        entry = await stored.state.get(BranchKeys.of("w1").compensation(0))
        assert entry is not None
        await stored.state.put(BranchKeys.of("w2").compensation(0), entry.value)
        await stored.dispatch([charge.spec(register=False)], correlation_id="w2")

        async def parked() -> bool:
            return (await client.status("w2")).parked.startswith("ChainError: ")

        await until(parked)


class Other(Json):
    media_type = "application/x-other"


async def test_data_that_this_worker_cannot_read_parks_the_step_too(
    stored: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    @activity(retry=NO_RETRY)
    async def charge(ctx: ActivityContext) -> None:
        if begun.is_set():
            raise PermanentFault("no")
        await ctx.register_compensation(account="alice")
        begun.set()
        await asyncio.Event().wait()

    @charge.compensate
    async def refund(account: str) -> None: ...

    await stored.dispatch([ActivitySpec("charge")], correlation_id="w")
    with monkeypatch.context() as fleet:
        fleet.setattr(PluginRegistry, "serializers", lambda _: [Other(), Json()])
        async with stored.worker(charge, grace=0.0):
            await begun.wait()
    async with stored.worker(charge), stored.client() as client:

        async def parked() -> bool:
            return (await client.status("w")).parked.startswith("SerializationError: no serializer for media type")

        await until(parked)


class Remote(Key):
    """Somewhere else: its answer comes later."""

    async def sign(self, signing_input: bytes) -> bytes:
        await asyncio.sleep(0)
        return await super().sign(signing_input)

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        await asyncio.sleep(0)
        return await super().verify(signing_input, signature)


@pytest.mark.parametrize("again", [False, True], ids=["first attempt", "retry"])
async def test_what_is_registered_at_once_is_all_undone(stored: Bed, again: bool) -> None:
    undone: list[int] = []
    attempts = itertools.count(0 if again else 1)

    @activity(retry=QUICK)
    async def book(ctx: ActivityContext) -> None:
        if next(attempts) == 0:
            await ctx.register_compensation(leg=0)
            raise ValueError("again")
        await asyncio.gather(*(ctx.register_compensation(leg=leg) for leg in range(4)))
        raise PermanentFault("full")

    @book.compensate
    async def cancel(leg: int) -> None:
        undone.append(leg)

    security = signed(Remote(), namespace=stored.transport.namespace)
    async with stored.worker(book, security=security), stored.dispatcher(security=security) as dispatcher:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("book")])
        async with stored.client(security=security) as client:
            assert (await client.outcome(workflow, timeout=PATIENCE)).status == "compensated"
    assert sorted(undone) == [0, 1, 2, 3]


async def test_while_keys_are_rotated_another_worker_may_go_on(memory: Bed) -> None:
    old, new, registered = Key("old"), Key("new"), asyncio.Event()
    updated = Security.build(memory.transport.namespace, signers=[new], verifiers=[old, new])
    behind = signed(old, namespace=memory.transport.namespace)

    @activity(retry=QUICK)
    async def book(ctx: ActivityContext) -> None:
        await ctx.register_compensation(leg=1)
        registered.set()
        await asyncio.Event().wait()

    @book.compensate
    async def cancel(leg: int) -> None: ...

    async with memory.dispatcher(security=behind) as dispatcher, memory.client(security=updated) as client:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("book")])
        async with memory.worker(book, security=updated, grace=0.0):
            await registered.wait()

        async def put_off() -> bool:
            return (await client.status(workflow)).attempt == 2

        async with memory.worker(book, security=behind):
            await until(put_off)
        assert (await client.status(workflow)).parked == ""


async def begun(security: Security, *, iat: int = NOW, by: tuple[str, ...] | None = None) -> Opened:
    """A workflow of one step that nobody has run yet."""
    step = Step(id="1", act="a", q="a", args=(values := Values()).ref({}), by=by)
    return await seal_origin(
        wf="w", steps=[step], variables={}, blobs=values.blobs, security=security, iat=iat, exp=iat + 60
    )


async def registered(before: Opened, security: Security) -> bytes:
    ref = (values := Values()).ref("mine")
    return await seal_registered(before, ROOT, ref, values.blobs[ref.h], security, now=NOW)


async def test_it_is_bound_to_its_branch_and_to_all_that_came_before() -> None:
    before = await begun(security := signed())
    stored = await registered(before, security)
    assert (await open_registered(stored, before, ROOT, security))[1] == b'"mine"'
    for other, branch in ((before, "1"), (await begun(security, iat=NOW + 1), ROOT)):
        with pytest.raises(ChainError, match="another step or workflow"):
            await open_registered(stored, other, branch, security)


async def test_neither_it_nor_a_record_of_the_chain_passes_for_the_other() -> None:
    before = await begun(security := signed())
    stored = (await registered(before, security)).partition(b"\n")[0]
    with pytest.raises(HeaderError, match=r"'paigeant-registered\+jws' where 'paigeant-origin\+jws' belongs"):
        await open_envelope(message(b'{"v":1,"origin":%s,"chain":[]}' % stored), security, now=NOW, limit=LIMIT)
    with pytest.raises(HeaderError, match=r"'paigeant-origin\+jws' where 'paigeant-registered\+jws' belongs"):
        await open_registered(encode(before.envelope.origin), before, ROOT, security)


async def test_only_who_may_run_the_step_may_register_for_it() -> None:
    keys = Key(), Key("key-2", "mallory")
    ours, theirs = [Security.build("acme", signers=[key], verifiers=keys, required=[]) for key in keys]
    before = await begun(ours, by=("acme",))
    assert await open_registered(await registered(before, ours), before, ROOT, ours)
    with pytest.raises(UntrustedSigner, match="'mallory' may not run step '1'"):
        await open_registered(await registered(before, theirs), before, ROOT, ours)
