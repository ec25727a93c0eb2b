"""Opening and sealing: what is carried, and each forgery refused as what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from paigeant.envelope import (
    Opened,
    content_digest,
    open_envelope,
    seal_hop,
    seal_origin,
    sha,
    write_claims,
)
from paigeant.errors import (
    BadSignature,
    Expired,
    InvalidWorkflow,
    ItineraryError,
    LimitExceeded,
    PayloadMismatch,
    RevisionNotAuthorized,
    SerializationError,
    UnsupportedContentType,
    UntrustedSigner,
)
from paigeant.model.records import ErrorClaim, Item, Revision, RevisionGrant, ValueRef
from paigeant.routing import ActivitySpec, ResultOf, Status, build_steps

from .forging_kit import claims_of, sign_raw, signature, with_chain, with_origin
from .records_kit import LIMIT, NOW, Key, Values, dispatched, done, draft_of, message, reopened, signed, two_hops

KEY = Key()


async def test_a_workflow_from_end_to_end() -> None:
    security = signed()
    values = Values()
    given = [ActivitySpec("a", {"x": 1}), ActivitySpec("b"), ActivitySpec("c", {"r": ResultOf("a")})]
    steps = build_steps(given, values.ref)
    sealed = await seal_origin(
        wf="w-1",
        steps=steps,
        variables={"v": values.ref("variable")},
        blobs=values.blobs,
        security=security,
        iat=NOW,
        exp=NOW + 60,
        deadline=NOW + 50,
        reply_to="replies",
        ext={"traceparent": "t"},
    )
    carried = []
    for n in range(3):
        opened = await reopened(sealed, security)
        assert opened == sealed
        carried.append({data.decode() for data in opened.envelope.blobs.values()})
        sealed = await done(opened, security, f"result {n}")
    final = await reopened(sealed, security)
    assert carried == [
        {'{"x": 1}', "{}", '"variable"'},
        {"{}", '"variable"', '"result 0"'},
        {"{}", '"variable"', '"result 0"', '"result 1"'},
    ]
    assert set(final.envelope.blobs.values()) == {b'"variable"', b'"result 2"'}
    assert (final.slip.status, final.envelope.ext) == (Status.COMPLETED, {"traceparent": "t"})
    origin = final.slip.origin
    assert (origin.reply_to, origin.dl, origin.aud, origin.iss) == ("replies", NOW + 50, "acme", "acme")


async def test_heads_and_tips() -> None:
    sealed = await two_hops(signed())
    records = sealed.envelope.records
    assert [sealed.heads(n) for n in range(3)] == [record.head for record in records]
    assert (sealed.head, sealed.tip) == (records[2].head, records[2].digest)
    assert [hop.prev for hop in sealed.hops] == [records[0].digest, records[1].digest]
    with pytest.raises(IndexError):
        sealed.heads(3)
    origin_only = await dispatched(signed())
    assert (origin_only.head, origin_only.tip) == (origin_only.envelope.origin.head, origin_only.envelope.origin.digest)


async def test_earlier_records_are_copied_byte_for_byte() -> None:
    before = await two_hops(signed())
    after = await done(await reopened(before, signed()), signed())
    old = json.loads(before.body)
    new = json.loads(after.body)
    assert (new["origin"], new["chain"][:2]) == (old["origin"], old["chain"])
    assert before.body.decode().split(',"blobs"')[0][:-1] in after.body.decode()


async def test_a_hop_is_never_older_than_the_one_before() -> None:
    security = signed()
    first = await done(await dispatched(security), security, now=NOW + 30.9)
    second = await done(first, security, now=NOW - 1000.0)
    assert [hop.iat for hop in second.hops] == [NOW + 30, NOW + 30]


async def test_a_step_may_be_kept_to_some_principals() -> None:
    values = Values()
    steps = build_steps([ActivitySpec("a"), ActivitySpec("b")], values.ref)
    reserved = [replace(steps[0], by=("bank",)), steps[1]]
    origin = {"wf": "w", "steps": reserved, "variables": {}, "blobs": values.blobs, "iat": NOW, "exp": NOW + 60}
    sealed = await seal_origin(**origin, security=signed())
    with pytest.raises(UntrustedSigner, match="'acme' may not run step '1'"):
        await done(sealed, signed())
    bank = signed(Key(principal="bank"))
    await done(await seal_origin(**origin, security=bank), bank)


async def test_revisions_are_sealed_within_the_grant() -> None:
    security = signed()
    sealed = await dispatched(security, rev=RevisionGrant(by=("acme",), acts=("x",), max=5))
    tail = tuple(Item(step=step) for step in sealed.slip.remaining[2:])
    revised = await done(sealed, security, rev=Revision(n=1, tail=tail, why="shorter"))
    assert [step.act for step in (await reopened(revised, security)).slip.remaining] == ["c"]
    stranger = await dispatched(security, rev=RevisionGrant(by=("planner",), acts=("x",), max=5))
    with pytest.raises(RevisionNotAuthorized, match="'acme' may not revise"):
        await done(stranger, security, rev=Revision(n=1, tail=tail, why="shorter"))


# --- values ----------------------------------------------------------------------------------------


def with_blobs(change: Callable[[dict[str, Any]], dict[str, Any]], sealed: Opened) -> bytes:
    frame = json.loads(sealed.body)
    return json.dumps({**frame, "blobs": change(frame["blobs"])}).encode()


async def test_values_must_be_those_that_were_signed() -> None:
    sealed = await dispatched(signed())
    changed = with_blobs(lambda blobs: dict.fromkeys(blobs, "other"), sealed)
    with pytest.raises(PayloadMismatch, match="does not hash"):
        await reopened(changed, signed())
    wrong_key = with_blobs(lambda blobs: {**blobs, "x" * 43: "junk"}, sealed)
    with pytest.raises(PayloadMismatch, match="does not hash"):
        await reopened(wrong_key, signed())


async def test_a_length_that_was_signed_must_be_true() -> None:
    values = Values()
    steps = build_steps([ActivitySpec("a")], lambda plain, what: replace(values.ref(plain), n=3))
    opened = await dispatched(signed())
    payload = {
        **claims_of(opened.envelope.origin),
        "items": [{"step": json.loads(write_claims(steps[0]))}],
    }
    forged = with_origin(lambda _: sign_raw(json.dumps(payload).encode(), "origin"))(opened)
    blobs = {**forged.envelope.blobs, **values.blobs}
    with pytest.raises(PayloadMismatch, match="has 2 bytes, and 3 were signed"):
        await reopened(replace(forged, envelope=replace(forged.envelope, blobs=blobs)), signed())


async def test_values_may_be_elsewhere_and_others_are_dropped() -> None:
    sealed = await dispatched(signed())
    none = await reopened(with_blobs(lambda _: {}, sealed), signed())
    assert (none.slip, none.envelope.blobs) == (sealed.slip, {})
    more = await reopened(with_blobs(lambda blobs: {**blobs, sha(b"junk"): "junk"}, sealed), signed())
    assert more.envelope.blobs == sealed.envelope.blobs
    assert (await done(none, signed())).slip.seq == 1


async def test_the_text_of_a_fault_travels_to_the_end() -> None:
    security, values = signed(), Values()
    sealed = await dispatched(security)
    err = ErrorClaim(class_="Boom", h=values.ref("what happened").h)
    draft = draft_of(sealed.slip, "fault", err=err, comp=values.ref("undo"))
    faulted = await reopened(await seal_hop(sealed, draft, values.blobs, security, now=NOW), security)
    ended = await seal_hop(faulted, draft_of(faulted.slip), {}, security, now=NOW)
    final = await reopened(ended, security)
    assert (final.slip.status, final.slip.fault and final.slip.fault.text) == (Status.COMPENSATED, err.h)
    assert final.envelope.blobs[err.h] == b'"what happened"'
    assert values.ref("undo").h not in final.envelope.blobs


async def test_a_wrong_new_value_is_not_sealed() -> None:
    sealed = await dispatched(signed())
    ref = ValueRef(h=sha(b"right"), n=5, mt="text/plain")
    with pytest.raises(PayloadMismatch, match="does not hash"):
        await seal_hop(sealed, draft_of(sealed.slip, out=ref), {ref.h: b"wrong"}, signed(), now=NOW)
    short = replace(ref, n=4)
    with pytest.raises(PayloadMismatch, match="has 5 bytes, and 4 were signed"):
        await seal_hop(sealed, draft_of(sealed.slip, out=short), {ref.h: b"right"}, signed(), now=NOW)


# --- time, type, limits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/json",
        "Application/vnd.paigeant.envelope+json",
        "application/vnd.paigeant.envelope+json; charset=utf-8",
    ],
)
async def test_only_one_content_type(kind: str | None) -> None:
    sealed = await dispatched(signed())
    with pytest.raises(UnsupportedContentType):
        await open_envelope(message(sealed, kind), signed(), now=NOW, limit=LIMIT)


async def test_expiry_has_a_skew_and_can_be_left_to_the_caller() -> None:
    security = signed()
    sealed = await dispatched(security)
    late = NOW + 3600 + 60
    assert await open_envelope(message(sealed), security, now=late, limit=LIMIT) == sealed
    with pytest.raises(Expired, match="'w-1'"):
        await open_envelope(message(sealed), security, now=late + 1, limit=LIMIT)
    assert await open_envelope(message(sealed), security, now=late + 1, limit=LIMIT, allow_expired=True) == sealed
    with pytest.raises(Expired, match="before step '1'"):
        await done(sealed, security, now=late + 1)


async def test_an_expired_forgery_is_a_forgery() -> None:
    forged = signature(lambda s: replace(s, value=s.value[:-4]))(await two_hops(signed()))
    with pytest.raises(BadSignature):
        await reopened(forged, signed(), now=NOW + 10**7)


async def test_a_body_over_the_limit() -> None:
    sealed = await dispatched(signed())
    with pytest.raises(LimitExceeded):
        await reopened(sealed, signed(), limit=100)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"exp": NOW}, "must expire within"),
        ({"exp": NOW + 31 * 86_400}, "must expire within"),
        ({"deadline": NOW + 3601}, "deadline"),
        ({"wf": "no spaces"}, "correlation id"),
        ({"reply_to": "Bad Queue"}, "reply_to"),
        ({"variables": {"k" * 129: ValueRef(h=sha(b""), n=0, mt="text/plain")}}, "vars"),
        ({"variables": {"\ud800": ValueRef(h=sha(b""), n=0, mt="text/plain")}}, "'w'"),
        ({"steps": ()}, "items"),
    ],
    ids=["no life", "long life", "deadline", "wf", "reply", "variable", "surrogate", "empty"],
)
async def test_no_invalid_origin_is_signed(wrong: dict[str, Any], why: str) -> None:
    values = Values()
    good: dict[str, Any] = {"wf": "w", "steps": build_steps([ActivitySpec("a")], values.ref), "variables": {}}
    good |= {"blobs": values.blobs, "security": signed(), "iat": NOW, "exp": NOW + 3600}
    await seal_origin(**good)
    with pytest.raises(InvalidWorkflow, match=why):
        await seal_origin(**{**good, **wrong})


@pytest.mark.parametrize(
    "members", [{"usage": {"tokens": -1}}, {"vars": {"\ud800": None}}, {"vars": {"": None}}], ids=str
)
async def test_a_draft_that_cannot_be_carried_is_refused(members: dict[str, Any]) -> None:
    sealed = await dispatched(signed())
    with pytest.raises(SerializationError):
        await done(sealed, signed(), **members)


async def test_a_chain_does_not_outgrow_its_reader() -> None:
    sealed = await done(await dispatched(signed()), signed())
    for hops, error in ((1023, LimitExceeded), (1022, None)):
        long = with_chain(sealed, *sealed.envelope.chain * hops)
        if error is None:
            assert len((await done(long, signed())).envelope.records) == 1024
        else:
            with pytest.raises(error, match="1024 records"):
                await done(long, signed())


async def test_a_draft_out_of_turn_is_not_signed() -> None:
    sealed = await dispatched(signed())
    draft = replace(draft_of(sealed.slip), step="2", act="b")
    with pytest.raises(ItineraryError):
        await seal_hop(sealed, draft, {}, signed(), now=NOW)


async def test_the_content_digest_ignores_times_and_signers_only() -> None:
    values = Values()
    steps = build_steps([ActivitySpec("a", {"x": 1}), ActivitySpec("b", {"r": ResultOf("a")})], values.ref)
    good: dict[str, Any] = {"wf": "w", "steps": steps, "variables": {"v": values.ref(1)}}
    good |= {"blobs": values.blobs, "security": signed(), "iat": NOW, "exp": NOW + 60}

    async def digest(**changes: Any) -> str:
        return content_digest((await seal_origin(**{**good, **changes})).slip.origin)

    same = await digest()
    assert await digest(iat=NOW + 5, exp=NOW + 99, deadline=NOW + 9) == same
    assert await digest(security=signed(KEY, Key("second", "auditor"))) == same
    others = [
        await digest(wf="w2"),
        await digest(steps=steps[:1]),
        await digest(variables={}),
        await digest(variables={"v": values.ref(2)}),
        await digest(reply_to="q"),
        await digest(rev=RevisionGrant(by=("acme",), acts=("x",), max=5)),
    ]
    assert len({same, *others}) == 7
