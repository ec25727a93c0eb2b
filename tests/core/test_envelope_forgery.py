"""Each forgery is refused as what it is."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from paigeant.envelope import Security, b64url, open_envelope, sha, unb64url
from paigeant.errors import (
    AlgorithmNotAllowed,
    AudienceMismatch,
    BadSignature,
    ChainError,
    EnvelopeFormatError,
    Expired,
    HeaderError,
    ItineraryError,
    LimitExceeded,
    MissingSignature,
    NotYetValid,
    RevisionNotAuthorized,
    UnknownKey,
    UntrustedSigner,
)

from .forging_kit import (
    Forge,
    claims,
    header,
    origin_claims,
    payload_text,
    resigned,
    sign_raw,
    signature,
    with_chain,
    with_last,
    with_origin,
)
from .records_kit import LIMIT, NOW, Key, dispatched, forgetful, message, reopened, signed, two_hops

STRANGER = Key("stranger", "mallory")
OTHER_SECRET = Key(secret=b"not the secret of this namespace")
REF = {"h": sha(b"1"), "n": 1, "mt": "application/json"}


def deep_items(levels: int) -> list[Any]:
    """Forks within forks."""
    items: list[Any] = [{"step": {"id": "1", "act": "a", "q": "a", "args": REF}}]
    for level in range(levels):
        items = [{"fork": {"id": f"f{level}", "policy": {"kind": "all"}, "branches": [items]}}]
    return items


FORGERIES: dict[str, tuple[Forge, type[Exception]]] = {
    "a byte of the payload": (
        with_last(lambda r: replace(r, payload=b64url(unb64url(r.payload).replace(b'"att":1', b'"att":2')))),
        BadSignature,
    ),
    "another secret": (with_last(lambda r: sign_raw(unb64url(r.payload), "hop", OTHER_SECRET)), BadSignature),
    "short signature": (signature(lambda s: replace(s, value=s.value[:-4])), BadSignature),
    "empty signature": (signature(lambda s: replace(s, value="")), BadSignature),
    "padded signature": (signature(lambda s: replace(s, value=s.value + "=")), EnvelopeFormatError),
    "loose bits in the signature": (
        signature(lambda s: replace(s, value=s.value[:-1] + _next(s.value[-1]))),
        EnvelopeFormatError,
    ),
    "stripped": (with_last(lambda r: replace(r, signatures=())), MissingSignature),
    "stripped, and says so": (
        with_last(lambda r: replace(resigned(r, signers=[]), signatures=())),
        MissingSignature,
    ),
    "unknown key": (with_last(lambda r: sign_raw(unb64url(r.payload), "hop", STRANGER)), UnknownKey),
    "added signature": (with_last(lambda r: sign_raw(unb64url(r.payload), "hop", Key(), STRANGER)), UnknownKey),
    "twice the same": (with_last(lambda r: replace(r, signatures=r.signatures * 2)), EnvelopeFormatError),
    "alg none": (header(alg="none"), AlgorithmNotAllowed),
    "alg of another key": (header(alg="ES256"), AlgorithmNotAllowed),
    "crit": (header(crit=["b64"]), HeaderError),
    "b64": (header(b64=False), HeaderError),
    "jwk": (header(jwk={}), HeaderError),
    "no typ": (header(typ=None), HeaderError),
    "unknown typ": (header(typ="JWT"), HeaderError),
    "origin in the chain": (header(kind="origin"), HeaderError),
    "attest in the chain": (header(kind="attest"), ChainError),
    "kid is a path": (header(kid="../../etc/passwd"), HeaderError),
    "kid is a list": (header(kid=["key-1"]), HeaderError),
    "kid is too long": (header(kid="k" * 129), HeaderError),
    "header too long": (header(alg="H" * 2000), HeaderError),
    "header no JSON": (signature(lambda s: replace(s, protected=b64url(b"{"))), HeaderError),
    "header no object": (signature(lambda s: replace(s, protected=b64url(b"[]"))), HeaderError),
    "header no base64url": (signature(lambda s: replace(s, protected="**")), HeaderError),
    "duplicate header": (
        signature(lambda s: replace(s, protected=b64url(unb64url(s.protected).replace(b"{", b'{"alg":"HS256",')))),
        HeaderError,
    ),
    "payload no base64url": (with_last(lambda r: replace(r, payload="é")), BadSignature),
    "payload no JSON": (payload_text(lambda t: t[:-1]), EnvelopeFormatError),
    "payload duplicate": (payload_text(lambda t: t[:-1] + ',"seq":1}'), EnvelopeFormatError),
    "payload NaN": (payload_text(lambda t: t.replace('"att":1', '"att":NaN')), EnvelopeFormatError),
    "payload too deep": (payload_text(lambda t: t[:-1] + ',"x":' + "[" * 40 + "]" * 40 + "}"), LimitExceeded),
    "payload no object": (payload_text(lambda _: "[]"), EnvelopeFormatError),
    "unknown claim": (claims(more=1), EnvelopeFormatError),
    "missing claim": (claims(att=...), EnvelopeFormatError),
    "number as text": (claims(att="1"), EnvelopeFormatError),
    "float": (claims(seq=1.0), EnvelopeFormatError),
    "bool as number": (claims(att=True), EnvelopeFormatError),
    "wrong digest": (claims(out={**REF, "h": "short"}), EnvelopeFormatError),
    "other signers": (claims(signers=["key-1", "key-2"]), MissingSignature),
    "no signers": (claims(signers=[]), MissingSignature),
    "foreign issuer": (claims(iss="mallory"), UntrustedSigner),
    "other workflow": (claims(wf="w-2"), ChainError),
    "seq ahead": (claims(seq=2), ChainError),
    "seq repeated": (claims(seq=0), ChainError),
    "prev of another": (claims(prev=sha(b"")), ChainError),
    "earlier than before": (claims(iat=NOW - 1), ChainError),
    "after expiry": (claims(iat=NOW + 3600 + 61), ChainError),
    "in the future": (claims(iat=NOW + 61), NotYetValid),
    "another step": (claims(step="3"), ItineraryError),
    "another activity": (claims(act="c"), ItineraryError),
    "undo out of turn": (claims(dir="undo"), ItineraryError),
    "a status of undo": (claims(st="skip", out=...), ItineraryError),
    "unknown status": (claims(st="maybe"), EnvelopeFormatError),
    "a fault without error": (claims(st="fault", out=...), ItineraryError),
    "revision not granted": (claims(rev={"n": 1, "tail": [], "why": "x"}), RevisionNotAuthorized),
    "first dropped": (lambda o: with_chain(o, o.envelope.chain[1]), ChainError),
    "swapped": (lambda o: with_chain(o, *reversed(o.envelope.chain)), ChainError),
    "repeated": (lambda o: with_chain(o, *o.envelope.chain, o.envelope.chain[-1]), ChainError),
    "first altered, then continued": (
        lambda o: with_chain(o, resigned(o.envelope.chain[0], att=2), o.envelope.chain[1]),
        ChainError,
    ),
    "hop as origin": (lambda o: replace(o, envelope=replace(o.envelope, records=o.envelope.chain)), HeaderError),
    "origin of another": (origin_claims(aud="globex"), AudienceMismatch),
    "endless": (origin_claims(exp=NOW + 31 * 86_400), LimitExceeded),
    "expires before issue": (origin_claims(exp=NOW - 1), EnvelopeFormatError),
    "deadline after expiry": (origin_claims(dl=NOW + 3601), EnvelopeFormatError),
    "issued in the future": (origin_claims(iat=NOW + 61), NotYetValid),
    "expired": (origin_claims(iat=NOW - 200, exp=NOW - 61), Expired),
    "no items": (origin_claims(items=[]), EnvelopeFormatError),
    "unknown item": (origin_claims(items=[{"loop": {}}]), EnvelopeFormatError),
    "an item of later releases": (origin_claims(items=[{"delay": {"id": "d", "seconds": 1}}]), ItineraryError),
    "two kinds in one item": (
        origin_claims(items=[{"step": {"id": "1", "act": "a", "q": "a", "args": REF}, "delay": {"id": "d"}}]),
        EnvelopeFormatError,
    ),
    "ids repeat": (origin_claims(items=[{"step": {"id": "1", "act": "a", "q": "a", "args": REF}}] * 2), ItineraryError),
    "scope widened": (
        origin_claims(items=[{"step": {"id": "1", "act": "a", "q": "a", "args": REF, "scope": ["admin"]}}]),
        ItineraryError,
    ),
    "a huge index": (
        origin_claims(
            items=[
                {"step": {"id": "1", "act": "a", "q": "a", "args": REF}},
                {"step": {"id": "2", "act": "a", "q": "a", "args": REF, "from": {"r": {"step": "1", "path": [2**53]}}}},
            ]
        ),
        EnvelopeFormatError,
    ),
    "items too deep": (origin_claims(items=deep_items(12)), LimitExceeded),
    "items within items": (origin_claims(items=deep_items(3)), ItineraryError),
    "bad name": (
        origin_claims(items=[{"step": {"id": "1", "act": "A b", "q": "a", "args": REF}}]),
        EnvelopeFormatError,
    ),
    "null signers": (origin_claims(signers=None), EnvelopeFormatError),
}


def _next(char: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(char) ^ 1]


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_is_refused_as_what_it_is(name: str) -> None:
    """Also by the process that has verified, and remembers, the genuine chain."""
    forge, error = FORGERIES[name]
    security = signed()
    genuine = await two_hops(security)
    await open_envelope(message(genuine), security, now=NOW, limit=LIMIT)
    forged = message(forge(genuine))
    for own in (forgetful(security), security):
        with pytest.raises(error):
            await open_envelope(forged, own, now=NOW, limit=LIMIT)


async def test_a_co_signature_can_be_neither_stripped_nor_added() -> None:
    one, both = Key("a"), Key("b", "auditor")
    lenient = {"verifiers": [one, both], "required": ["acme"]}
    co_signed = Security.build("acme", signers=[one, both], **lenient)  # type: ignore[arg-type]
    sealed = await dispatched(co_signed)
    stripped = replace(sealed.envelope.origin, signatures=sealed.envelope.origin.signatures[:1])
    with pytest.raises(MissingSignature, match=r"signed by \['a'\], but says \['a', 'b'\]"):
        await reopened(with_origin(lambda _: stripped)(sealed), co_signed)
    alone = await dispatched(Security.build("acme", signers=[one], **lenient))  # type: ignore[arg-type]
    added = sign_raw(unb64url(alone.envelope.origin.payload), "origin", one, both)
    with pytest.raises(MissingSignature, match=r"signed by \['a', 'b'\], but says \['a'\]"):
        await reopened(with_origin(lambda _: added)(alone), co_signed)
    reordered = replace(sealed.envelope.origin, signatures=sealed.envelope.origin.signatures[::-1])
    with pytest.raises(EnvelopeFormatError, match="sorted"):
        await reopened(with_origin(lambda _: reordered)(sealed), co_signed)
