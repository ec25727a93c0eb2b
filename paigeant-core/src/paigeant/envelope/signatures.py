"""Signing and verifying one record (JWS, RFC 7515)."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, cast, get_args

from ..abc import Signer, Verifier
from ..errors import (
    AlgorithmNotAllowed,
    BadSignature,
    ChainError,
    ConfigurationError,
    EnvelopeFormatError,
    HeaderError,
    MissingSignature,
    PaigeantError,
    PolicyNotSatisfied,
    SignerUnavailable,
    UnknownKey,
)
from ..model.names import KID
from .digest import b64url, unb64url
from .eager import within
from .frame import Record, Signature
from .strict_json import loads

if TYPE_CHECKING:
    from .security import Security

Kind: TypeAlias = Literal["origin", "hop", "registered"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_MAX_HEADER = 1024


class Header(NamedTuple):
    """The members of a protected header; there are no others."""

    alg: str
    kid: str
    typ: str


async def sign(payload: bytes, kind: Kind, security: Security) -> Record:
    """Sign with every configured signer, in parallel, over the same bytes. All of them, or an error.

    :raises SignerUnavailable: one failed, timed out, or gave what its own verifier refuses.
    :raises ConfigurationError: there is no signer, and the namespace is not unsigned.
    """
    text = b64url(payload)
    if not security.signers:
        if not security.unsigned:
            raise ConfigurationError("no signer is configured; set PAIGEANT_SIGNERS, for example to hs256")
        return Record(text, ())
    if len(security.signers) == 1:  # a task costs more than an HMAC
        signatures = [await _sign(security.signers[0], text, kind, security)]
    else:
        signatures = await _sign_all(text, kind, security)
    return Record(text, tuple(signatures))


async def _sign_all(text: str, kind: Kind, security: Security) -> list[Signature]:
    jobs = (_sign(signer, text, kind, security) for signer in security.signers)
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return cast("list[Signature]", outcomes)


async def _sign(signer: Signer, text: str, kind: Kind, security: Security) -> Signature:
    """One signature, verified at once: what we publish, everybody can verify."""
    protected = _protected(signer.alg, signer.kid, kind)
    job = _signed(signer, security.verifiers[signer.kid], f"{protected}.{text}".encode("ascii"))
    try:
        raw, valid = await within(security.sign_timeout, job)
        signature = Signature(protected, b64url(raw))
    except TimeoutError as exc:
        raise SignerUnavailable(f"signer {signer.kid!r}: no answer within {security.sign_timeout:g} s") from exc
    except Exception as exc:
        raise SignerUnavailable(f"signer {signer.kid!r}: {type(exc).__name__}: {exc}") from exc
    if valid is not True:
        raise SignerUnavailable(f"signer {signer.kid!r}: its signature does not verify with the verifier of that kid")
    return signature


async def _signed(signer: Signer, verifier: Verifier, signing_input: bytes) -> tuple[bytes, bool]:
    raw = await signer.sign(signing_input)
    return raw, await verifier.verify(signing_input, raw)


async def verify(record: Record, kind: Kind, security: Security) -> tuple[str, ...]:
    """Verify every signature of a record; return the kids.

    :raises SecurityError: one is missing, unknown, of another algorithm or type, or invalid.
    :raises SignerUnavailable: a verifier did not answer in time.
    """
    if security.unsigned:
        if record.signatures:
            raise PolicyNotSatisfied("a signed record in an unsigned namespace; configure its signers on every process")
        return ()
    if not record.signatures:
        raise MissingSignature("a record without signatures, and this namespace is signed")
    headers = [_header(signature.protected) for signature in record.signatures]
    kids = tuple(header.kid for header in headers)
    if list(kids) != sorted(set(kids)):
        raise EnvelopeFormatError("record: signatures must be sorted by 'kid', each once")
    for header, signature in zip(headers, record.signatures, strict=True):
        verifier = _verifier(header, kind, security)
        if await _valid(record, signature, verifier, security.sign_timeout) is not True:
            raise BadSignature(f"{kind} record: the signature of key {header.kid!r} does not verify")
    return kids


def _verifier(header: Header, kind: Kind, security: Security) -> Verifier:
    if header.typ != _TYPES[kind]:
        if header.typ == _ATTEST:
            raise ChainError("the chain holds an operator's attestation, which this release cannot accept")
        raise HeaderError(f"a record of type {header.typ!r} where {_TYPES[kind]!r} belongs")
    verifier = security.verifiers.get(header.kid)
    if verifier is None:
        raise UnknownKey(
            f"no configured key has the kid {header.kid!r}: who signed it has other keys; give both the same key file "
            "(`paigeant keys init` makes one, PAIGEANT_HS256_KEY_FILE names it), or configure the other's signer here"
        )
    if verifier.alg != header.alg:
        raise AlgorithmNotAllowed(f"key {header.kid!r} is for {verifier.alg}, the header says {header.alg!r}")
    return verifier


async def _valid(record: Record, signature: Signature, verifier: Verifier, seconds: float) -> bool:
    signing_input = f"{signature.protected}.{record.payload}".encode()
    try:
        return await within(seconds, verifier.verify(signing_input, unb64url(signature.value)))
    except PaigeantError:
        raise
    except TimeoutError as exc:
        raise SignerUnavailable(f"the verifier of key {verifier.kid!r}: no answer within {seconds:g} s") from exc
    except Exception as exc:  # G04 forbids it, and a plugin's slip must not become ours
        raise BadSignature(f"the verifier of key {verifier.kid!r} raised {type(exc).__name__}") from exc


_TYPES: dict[Kind, str] = {kind: f"paigeant-{kind}+jws" for kind in KINDS}
_ATTEST = "paigeant-attest+jws"


@lru_cache(maxsize=256)
def _protected(alg: str, kid: str, kind: Kind) -> str:
    return b64url(json.dumps({"alg": alg, "kid": kid, "typ": _TYPES[kind]}, separators=(",", ":")).encode())


@lru_cache(maxsize=256)
def _header(protected: str) -> Header:
    try:
        members = loads(unb64url(protected), limit=_MAX_HEADER, what="protected header")
    except PaigeantError as exc:
        raise HeaderError(f"protected header: {exc}") from exc
    if type(members) is not dict or cast("dict[str, object]", members).keys() != {"alg", "kid", "typ"}:
        raise HeaderError("protected header: members must be exactly 'alg', 'kid' and 'typ'")
    header = Header(**cast("dict[str, str]", members))
    if not all(type(member) is str for member in header):
        raise HeaderError("protected header: members must be strings")
    if not KID.fullmatch(header.kid):
        raise HeaderError(f"protected header: 'kid' must match {KID.pattern}")
    return header
