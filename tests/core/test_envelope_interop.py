"""Our records are JWS: two other libraries verify them, and we verify theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OctKey
from jwcrypto import jwk as crypto_jwk
from jwcrypto import jws as crypto_jws
from msgspec.json import encode

from paigeant.envelope import Opened, Record, Security, Signature, b64url, unb64url
from paigeant.errors import BadSignature

from .records_kit import Key, dispatched, done, reopened, signed

KEYS = {key.kid: key for key in (Key("a"), Key("b", "auditor"))}
SECURITY = signed(*KEYS.values())


async def records_as_json() -> list[dict[str, Any]]:
    frame = json.loads((await done(await dispatched(SECURITY), SECURITY)).body)
    return [frame["origin"], *frame["chain"]]


def with_joserfc(record: dict[str, Any]) -> bytes:
    registry = jws.JWSRegistry(algorithms=["HS256"])
    obj = jws.deserialize_json(
        record,  # type: ignore[arg-type]
        lambda it: OctKey.import_key(KEYS[it.headers()["kid"]].secret),
        registry=registry,
    )
    assert isinstance(obj, jws.GeneralJSONSignature)
    return obj.payload


def with_jwcrypto(record: dict[str, Any]) -> bytes:
    for key in KEYS.values():
        parsed = crypto_jws.JWS()
        parsed.deserialize(json.dumps(record))
        parsed.verify(crypto_jwk.JWK(kty="oct", k=b64url(key.secret)))
    payload: bytes = parsed.payload
    return payload


@pytest.mark.parametrize("verify", [with_joserfc, with_jwcrypto])
async def test_other_libraries_verify_ours(verify: Any) -> None:
    for record in await records_as_json():
        assert len(record["signatures"]) == 2
        assert verify(record) == unb64url(record["payload"])
        for signature in record["signatures"]:
            forged = {**record, "signatures": [{**signature, "signature": b64url(b"x" * 32)}]}
            with pytest.raises((ValueError, crypto_jws.InvalidJWSSignature, jws.BadSignatureError)):
                verify(forged)


def header(key: Key, kind: str) -> dict[str, str]:
    return {"alg": "HS256", "kid": key.kid, "typ": f"paigeant-{kind}+jws"}


def by_joserfc(payload: bytes, kind: str) -> dict[str, Any]:
    members: list[Any] = [{"protected": header(key, kind)} for key in KEYS.values()]
    secrets = {kid: OctKey.import_key(key.secret) for kid, key in KEYS.items()}
    registry = jws.JWSRegistry(algorithms=["HS256"])
    return dict(jws.serialize_json(members, payload, lambda it: secrets[it.headers()["kid"]], registry=registry))


def by_jwcrypto(payload: bytes, kind: str) -> dict[str, Any]:
    made = crypto_jws.JWS(payload)
    for key in KEYS.values():
        made.add_signature(crypto_jwk.JWK(kty="oct", k=b64url(key.secret)), None, json.dumps(header(key, kind)), None)
    record: dict[str, Any] = json.loads(made.serialize())
    return record


def theirs(sealed: Opened, security: Security, make: Any) -> bytes:
    """The envelope with its last record signed by another library."""
    frame = json.loads(sealed.body)
    kind, last = ("hop", frame["chain"][-1]) if frame["chain"] else ("origin", frame["origin"])
    last.update(make(unb64url(last["payload"]), kind))
    return json.dumps(frame).encode()


@pytest.mark.parametrize("make", [by_joserfc, by_jwcrypto])
async def test_we_verify_those_of_other_libraries(make: Any) -> None:
    origin = await dispatched(SECURITY)
    hop = await done(origin, SECURITY)
    for sealed in (origin, hop):
        opened = await reopened(theirs(sealed, SECURITY, make), SECURITY)
        assert opened.slip == sealed.slip
        assert opened.head == sealed.head
    stranger = signed(*(Key(key.kid, key.principal, b"another secret of thirty-two byt") for key in KEYS.values()))
    with pytest.raises(BadSignature):
        await reopened(theirs(hop, SECURITY, make), stranger)


def test_a_record_is_the_general_serialization() -> None:
    record = Record("cA", (Signature("aA", "cw"),))
    assert json.loads(encode(record)) == {"payload": "cA", "signatures": [{"protected": "aA", "signature": "cw"}]}
