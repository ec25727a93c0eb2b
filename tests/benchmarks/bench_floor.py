"""What a signed workflow of three steps costs in CPU if nothing but the unavoidable is done: the floor.

    python tests/benchmarks/bench_floor.py

Straight-line code in one process, on the libraries that Paigeant uses: JSON, SHA-256, HMAC and base64 of the records
and values that travel, and the activity's arguments and result checked by pydantic. No broker, no task, no cursor, no
lease, no retry, no folding of the itinerary. Records are verified once per process that receives them, as in Paigeant.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

from bench_hop import ACTIVITIES, FILLER
from msgspec.json import decode, encode

from paigeant.envelope.claims import read_claims, write_claims
from paigeant.envelope.digest import b64url, sha, unb64url
from paigeant.envelope.frame import Envelope, Record, Signature, read_envelope
from paigeant.model.records import Hop, Item, Origin, Step, ValueRef

KEY, KID, N = b"k" * 32, "dev", 2000
NOW = 1_790_000_000
PROTECTED = b64url(encode({"alg": "HS256", "kid": KID, "typ": "paigeant-hop+jws"}))


def _value(plain: Any) -> tuple[ValueRef, bytes]:
    data = encode(plain)
    return ValueRef(h=sha(data), n=len(data), mt="application/json"), data


def _sign(payload: bytes) -> Record:
    text = b64url(payload)
    signing_input = f"{PROTECTED}.{text}".encode()
    signature = hmac.digest(KEY, signing_input, "sha256")
    assert hmac.compare_digest(signature, hmac.digest(KEY, signing_input, "sha256"))  # its own verification
    return Record(text, (Signature(PROTECTED, b64url(signature)),))


def _verify(record: Record, model: Any) -> Any:
    (signature,) = record.signatures
    expected = hmac.digest(KEY, f"{signature.protected}.{record.payload}".encode(), "sha256")
    assert hmac.compare_digest(expected, unb64url(signature.value))
    return read_claims(unb64url(record.payload), model)


def dispatch(number: int) -> bytes:
    """A signed origin with three steps."""
    payload = {"id": str(number), "prompt": FILLER, "meta": {"tenant": "t1", "n": 7}, "steps": []}
    first, data = _value({"p": payload})
    rest, empty = _value({})
    steps = [Step(id=str(n), act=name, q=name, args=rest if n else first) for n, name in enumerate("abc")]
    items = tuple([Item(step=step) for step in steps])
    origin = Origin(
        wf=f"workflow-{number}", iss=KID, aud="acme", iat=NOW, exp=NOW + 9, items=items, policy=first.h, signers=(KID,)
    )
    return Envelope((_sign(write_claims(origin)),), {first.h: data, rest.h: empty}).body


def hop(envelope: Envelope, seq: int, digest: str) -> tuple[Envelope, str]:
    """Arguments in, activity, result out, one signed record more."""
    signature = ACTIVITIES[seq].signature
    arguments = signature.bind(decode(envelope.blobs[digest]) if seq == 0 else {"p": decode(envelope.blobs[digest])})
    value = arguments["p"]
    value["steps"].append({"step": "a", "ok": True, "out": 42})
    ref, data = _value(signature.plain_result(value))
    name = "abc"[seq]
    claims = Hop(
        wf="workflow",
        seq=seq,
        prev=envelope.records[-1].digest,
        step=name,
        act=name,
        dir="do",
        att=1,
        iss=KID,
        iat=NOW,
        st="ok",
        out=ref,
        signers=(KID,),
    )
    return Envelope((*envelope.records, _sign(write_claims(claims))), {ref.h: data}), ref.h


def work(body: bytes) -> bytes:
    """One worker: it verifies the origin once, and knows again what it has sealed itself."""
    envelope = read_envelope(body)
    origin = _verify(envelope.origin, Origin)
    assert all(sha(data) == digest for digest, data in envelope.blobs.items())
    digest = origin.items[0].step.args.h
    for seq in range(3):
        envelope, digest = hop(envelope, seq, digest)
        body = envelope.body
    return body


def outcome(body: bytes) -> Any:
    """The caller: four records and the result."""
    envelope = read_envelope(body)
    _verify(envelope.origin, Origin)
    tip = envelope.origin.digest
    for record in envelope.chain:
        assert _verify(record, Hop).prev == tip
        tip = record.digest
    ((digest, data),) = envelope.blobs.items()
    assert hashlib.sha256(data).digest() == unb64url(digest)
    return decode(data)


def _each(what: str, work: Any, inputs: list[Any]) -> list[Any]:
    cpu = time.process_time()
    outputs = [work(one) for one in inputs]
    print(f"{what:44} {(time.process_time() - cpu) / len(inputs) * 1e6:6.0f} us of CPU per workflow")
    return outputs


def main() -> None:
    for activity in ACTIVITIES:
        activity.prepare()
    for _ in range(2):  # the first round warms up
        bodies = _each("caller: seal the origin", dispatch, list(range(N)))
        finals = _each("worker: verify it, run and seal three hops", work, bodies)
        _each("caller: verify four records", outcome, finals)


if __name__ == "__main__":
    main()
