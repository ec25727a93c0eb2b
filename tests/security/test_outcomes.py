"""What a client says of an end is what was signed, whoever can write to the store or to the reply queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paigeant import ActivityContext, ResultExpired, WorkflowError, activity
from paigeant.envelope import sha
from paigeant.errors import AudienceMismatch, EnvelopeFormatError, PayloadMissing
from paigeant.model.message import Message, Publication
from paigeant.model.store import Entry
from paigeant.runtime.values import Outbox
from paigeant.state.cursor import Cursor
from paigeant.state.ids import BranchKeys

from ..support import NO_RETRY, PATIENCE, STORED, Bed, Mode, until


@activity
async def price(ctx: ActivityContext, amount: int) -> int:
    ctx.variables["limit"] = 100
    return amount


async def kept(bed: Bed, workflow: str) -> Entry:
    """The final envelope in the store."""
    keys = BranchKeys.of(workflow)
    cursor = await bed.state.get(keys.cursor)
    assert cursor is not None
    result = await bed.state.get(keys.result(Cursor.decode(cursor.value).nonce))
    assert result is not None
    return result


def robbed(envelope: bytes) -> bytes:
    """The same records, without their values."""
    members = json.loads(envelope)
    del members["blobs"]
    return json.dumps(members, separators=(",", ":")).encode()


@pytest.mark.parametrize("mode", STORED)
async def test_the_outcome_of_another_workflow_is_refused(mode: Mode, tmp_path: Path) -> None:
    async with Bed("inmemory", mode, tmp_path) as bed:
        for workflow, amount in (("asked", 1), ("other", 999)):
            await bed.run([price.spec(amount=amount)], price, correlation_id=workflow)
        await bed.state.put((await kept(bed, "asked")).key, (await kept(bed, "other")).value)
        with pytest.raises(AudienceMismatch, match=r"'asked' is signed for 'other'; find out who"):
            await bed.outcome("asked")
        assert (await bed.outcome("other")).results == {"price": 999}


async def overwrite(bed: Bed, workflow: str, **changes: str) -> None:
    """Puts another tombstone in the place of that of the workflow."""
    key = BranchKeys.of(workflow).cursor
    cursor = await bed.state.get(key)
    assert cursor is not None
    await bed.state.put(key, Cursor.decode(cursor.value).next(**changes).encode())


@pytest.mark.parametrize(("nonce", "outcome"), [({}, "failed"), ({}, "expired"), ({"nonce": "00"}, "expired")])
async def test_another_end_than_the_signed_one_is_refused(nonce: dict[str, str], outcome: str, memory: Bed) -> None:
    workflow = (await memory.run([price.spec(amount=1)], price)).correlation_id
    await overwrite(memory, workflow, outcome=outcome, **nonce)
    with pytest.raises(WorkflowError, match=f"the store says '{outcome}', its signed records say 'completed'"):
        await memory.outcome(workflow)


async def test_with_a_store_apart_no_end_is_told_without_proof(tmp_path: Path) -> None:
    async with Bed("inmemory", "separate", tmp_path) as bed:
        workflow = (await bed.run([price.spec(amount=1)], price)).correlation_id
        await overwrite(bed, workflow, outcome="expired", nonce="00")
        with pytest.raises(ResultExpired, match="expired, by what the store says"):
            await bed.outcome(workflow)


@pytest.mark.parametrize("mode", STORED)
async def test_a_history_that_was_rewritten_tells_what_was_signed(mode: Mode, tmp_path: Path) -> None:
    async with Bed("inmemory", mode, tmp_path) as bed:
        workflow = (await bed.run([price.spec(amount=1)], price)).correlation_id
        [entry] = await bed.state.scan("hist/")
        signed = {b'"ok"': b'"fault"', b'"price"': b'"refund"', b'"do"': b'"undo"', b'"seq":0': b'"seq":7'}
        value = entry.value
        for told, forged in signed.items():
            assert told in value
            value = value.replace(told, forged)
        await bed.state.put(entry.key, value)
        async with bed.client() as client:
            [hop] = await client.history(workflow)
        assert (hop.seq, hop.activity, hop.direction, hop.status) == (0, "price", "do", "ok")


async def test_the_history_of_another_workflow_is_refused(memory: Bed) -> None:
    for workflow in ("asked", "other"):
        await memory.run([price.spec(amount=1)], price, correlation_id=workflow)
    await memory.state.put((await kept(memory, "asked")).key, (await kept(memory, "other")).value)
    with pytest.raises(AudienceMismatch, match="the history that the store keeps for workflow 'asked' is signed for"):
        await memory.steps("asked")


@pytest.mark.parametrize("mode", STORED)
async def test_an_outcome_without_the_values_that_the_store_must_have_is_refused(mode: Mode, tmp_path: Path) -> None:
    async with Bed("inmemory", mode, tmp_path) as bed:
        await bed.run([price.spec(amount=1)], price, correlation_id="w-1")
        result = await kept(bed, "w-1")
        await bed.state.put(result.key, robbed(result.value))
        with pytest.raises(PayloadMissing, match="'w-1' lacks 1 of the values"):  # the result is in the history, too
            await bed.outcome("w-1")


async def test_an_outcome_that_lost_its_values_on_the_way_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with Bed("inmemory", "none", tmp_path) as bed, bed.client() as client:
        queue = (await bed.inbox()).address()
        workflow = await bed.dispatch([price.spec(amount=1)])

        async def arrived() -> bool:
            return (await bed.transport.queues(queue))[queue].ready == 1

        async with bed.worker(price):
            await until(arrived)
        (message,) = await bed.transport.peek(queue)
        await bed.transport.purge(queue)
        await bed.transport.publish(Publication(queue, Message("m", robbed(message.body), message.headers)))
        with pytest.raises(PayloadMissing, match="lacks 2 of the values"):
            await client.outcome(workflow, timeout=PATIENCE)


@activity(retry=NO_RETRY)
async def broken() -> None:
    raise ValueError("no")


@pytest.mark.parametrize("text", [b"no JSON", b"\xff", b"[" * 60_000], ids=["text", "bytes", "depth"])
async def test_an_error_text_that_cannot_be_read_is_refused(
    text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a worker that may sign, and does not write what ours write."""

    def add_text(self: Outbox, _: str) -> str:
        self.blobs[sha(text)] = text
        return sha(text)

    monkeypatch.setattr(Outbox, "add_text", add_text)
    monkeypatch.setattr(Outbox, "text", lambda *_: "")
    async with Bed("inmemory", "shared", tmp_path) as bed:
        with pytest.raises(EnvelopeFormatError, match="the error text of activity 'broken'"):
            await bed.run([broken.spec()], broken)
