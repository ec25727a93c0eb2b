"""Ways to alter a sealed envelope, with or without the keys of an insider."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec.structs import replace

from paigeant.envelope import Opened, Record, Signature, b64url, unb64url

from .records_kit import Key

Forge: TypeAlias = Callable[[Opened], Opened]


def sign_raw(payload: bytes, kind: str = "hop", *keys: Key, **header: Any) -> Record:
    """A record signed as told, whether that makes sense or not."""
    signatures = []
    for key in keys or (Key(),):
        members = {"alg": "HS256", "kid": key.kid, "typ": f"paigeant-{kind}+jws", **header}
        protected = b64url(json.dumps({k: v for k, v in members.items() if v is not None}).encode())
        raw = hmac.digest(key.secret, f"{protected}.{b64url(payload)}".encode(), "sha256")
        signatures.append(Signature(protected, b64url(raw)))
    return Record(b64url(payload), tuple(signatures))


def claims_of(record: Record) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(unb64url(record.payload))
    return claims


def resigned(record: Record, kind: str = "hop", *keys: Key, **changes: Any) -> Record:
    """The record with other claims, signed again with the real key: a dishonest insider."""
    claims = {**claims_of(record), **changes}
    text = json.dumps({k: v for k, v in claims.items() if v is not ...}, separators=(",", ":"))
    return sign_raw(text.encode(), kind, *keys)


def with_chain(opened: Opened, *chain: Record) -> Opened:
    return replace(opened, envelope=replace(opened.envelope, records=(opened.envelope.origin, *chain)))


def with_origin(change: Callable[[Record], Record]) -> Forge:
    return lambda o: replace(o, envelope=replace(o.envelope, records=(change(o.envelope.origin),)))


def with_last(change: Callable[[Record], Record]) -> Forge:
    return lambda o: with_chain(o, *o.envelope.chain[:-1], change(o.envelope.chain[-1]))


def header(**members: Any) -> Forge:
    return with_last(lambda r: sign_raw(unb64url(r.payload), **{"kind": "hop", **members}))


def claims(**changes: Any) -> Forge:
    return with_last(lambda r: resigned(r, **changes))


def origin_claims(**changes: Any) -> Forge:
    return with_origin(lambda r: resigned(r, "origin", **changes))


def signature(change: Callable[[Signature], Signature]) -> Forge:
    return with_last(lambda r: replace(r, signatures=(change(r.signatures[0]),)))


def payload_text(change: Callable[[str], str]) -> Forge:
    return with_last(lambda r: sign_raw(change(unb64url(r.payload).decode()).encode()))
