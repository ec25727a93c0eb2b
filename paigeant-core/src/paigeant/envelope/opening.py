"""Open: from the bytes of a message to a verified slip. Every byte is hostile until this returns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeVar

from ..errors import (
    AudienceMismatch,
    ChainError,
    EnvelopeFormatError,
    Expired,
    LimitExceeded,
    MissingSignature,
    NotYetValid,
    PayloadMismatch,
    PolicyNotSatisfied,
    UnsupportedContentType,
    UntrustedSigner,
)
from ..model.message import Message
from ..model.records import Hop, Origin, Registered, ValueRef
from ..routing import Slip, apply, needed_refs, start
from .chain import Opened
from .claims import read_claims
from .digest import sha, unb64url
from .frame import CONTENT_TYPE, CONTENT_TYPE_HEADER, Envelope, Record, read_envelope
from .security import Security
from .signatures import Kind, verify

__all__ = ["Opened", "carried", "follow", "open_envelope", "signed_claims"]

log = logging.getLogger("paigeant.envelope")

C = TypeVar("C", Origin, Hop, Registered)


async def open_envelope(
    message: Message, security: Security, *, now: float, limit: int, allow_expired: bool = False
) -> Opened:
    """Verify a message completely, but for its queue and the replay guard, which the worker has.

    :param now: seconds since the epoch.
    :param limit: most bytes of the body.
    :param allow_expired: leave the expiry to the caller; everything else is checked as ever.
    :raises SecurityError: the subclass says what is wrong. ``Expired`` and ``NotYetValid`` are raised
        only for envelopes that are authentic in every other respect.
    """
    if message.headers.get(CONTENT_TYPE_HEADER) != CONTENT_TYPE:
        raise UnsupportedContentType(f"the message header {CONTENT_TYPE_HEADER!r} must be {CONTENT_TYPE!r}")
    known = security.verified.recall(message.body) if len(message.body) <= limit else None
    if known is None:
        envelope = read_envelope(message.body, limit=limit)
        known = await _verified(envelope, security)
    _check_time(known.slip, security, now, allow_expired)
    return known


async def _verified(envelope: Envelope, security: Security) -> Opened:
    """Verify signatures, claims, that each record follows from those before, and the values.

    Nothing here depends on the time of day, so the answer stays good and is remembered.
    """
    records = envelope.records
    known = security.verified.longest(records)
    done = 0 if known is None else len(known.envelope.records)
    kids = [await verify(record, _kind(at), security) for at, record in enumerate(records[done:], done)]
    hops, slip = ((), None) if known is None else (known.hops, known.slip)
    for at, (record, signers) in enumerate(zip(records[done:], kids, strict=True), done):
        if slip is None:
            slip = _started(record, signers, security)
        else:
            hop = signed_claims(record, Hop, signers, security)
            hops, slip = (*hops, hop), follow(slip, hop, records[at - 1].digest, security)
    assert slip is not None
    blobs, lacking = _checked_blobs(envelope.blobs, slip)
    opened = Opened(Envelope(records, blobs, envelope.ext), slip, hops, lacking)
    security.verified.add(opened)
    return opened


def _kind(position: int) -> Kind:
    return "hop" if position else "origin"


def _started(record: Record, kids: tuple[str, ...], security: Security) -> Slip:
    origin = signed_claims(record, Origin, kids, security)
    where = f"workflow {origin.wf!r}"
    if origin.aud != security.namespace:
        raise AudienceMismatch(f"{where}: made for namespace {origin.aud!r}, this is {security.namespace!r}")
    if origin.exp <= origin.iat or (origin.dl is not None and origin.dl > origin.exp):
        raise EnvelopeFormatError(f"{where}: its times are out of order")
    if origin.exp - origin.iat > security.max_lifetime:
        raise LimitExceeded(f"{where}: lives {origin.exp - origin.iat} s, more than {security.max_lifetime} s")
    if origin.policy != security.policy:
        _other_policy(where, origin.policy, security)
    return start(origin)


def _other_policy(where: str, policy: str, security: Security) -> None:
    text = f"{where}: dispatched under another security policy (required signers, algorithms or state store differ)"
    if security.other_policy == "reject":
        raise PolicyNotSatisfied(text)
    if security.verified.is_news(policy):  # not once per workflow
        log.warning("%s", text)


def follow(slip: Slip, hop: Hop, tip: str, security: Security) -> Slip:
    """The slip after a hop, if it may follow the record with digest ``tip``.

    :raises SecurityError: it may not.
    """
    if hop.prev != tip:
        raise ChainError(f"workflow {slip.origin.wf!r}, record {hop.seq}: does not follow the record before it")
    if hop.iat > slip.origin.exp + security.skew:
        raise ChainError(f"workflow {slip.origin.wf!r}, record {hop.seq}: made after the workflow expired")
    after = apply(slip, hop)
    task = slip.next
    by = task.step.by if task is not None else None
    if by is not None and hop.iss not in by and hop.st in ("ok", "fault", "skip"):
        raise UntrustedSigner(f"workflow {slip.origin.wf!r}: {hop.iss!r} may not run step {hop.step!r}")
    return after


def signed_claims(record: Record, model: type[C], kids: tuple[str, ...], security: Security) -> C:
    """The claims of a record whose signatures (by ``kids``) are verified.

    :raises SecurityError: malformed, signed by others than it says, or against the policy.
    """
    claims = read_claims(unb64url(record.payload), model)
    if claims.signers != kids:
        raise MissingSignature(f"signed by {list(kids)!r}, but says {list(claims.signers)!r}")
    principals = security.check_principals(kids)
    if not security.unsigned and claims.iss not in principals:
        raise UntrustedSigner(f"issuer {claims.iss!r} is none of its signers {sorted(principals)!r}")
    return claims


def _checked_blobs(blobs: Mapping[str, bytes], slip: Slip) -> tuple[dict[str, bytes], tuple[ValueRef, ...]]:
    for digest, data in blobs.items():
        if sha(data) != digest:
            raise PayloadMismatch(f"a value does not hash to its name {digest!r}")
    return carried(slip, blobs)


def carried(slip: Slip, blobs: Mapping[str, bytes]) -> tuple[dict[str, bytes], tuple[ValueRef, ...]]:
    """The values that travel on, and those that should and are not at hand.

    :raises PayloadMismatch: one has another length than was signed.
    """
    kept: dict[str, bytes] = {}
    lacking: list[ValueRef] = []
    for ref in needed_refs(slip):
        data = blobs.get(ref.h)
        if data is None:
            lacking.append(ref)
        elif len(data) != ref.n:
            raise PayloadMismatch(f"value {ref.h!r} has {len(data)} bytes, and {ref.n} were signed")
        else:
            kept[ref.h] = data
    if slip.fault is not None and slip.fault.text in blobs:
        kept[slip.fault.text] = blobs[slip.fault.text]
    return kept, tuple(lacking)


def _check_time(slip: Slip, security: Security, now: float, allow_expired: bool) -> None:
    if slip.iat > now + security.skew:
        early = slip.iat - now
        raise NotYetValid(
            f"workflow {slip.origin.wf!r}: its last record is {early:.0f} s in the future; check the clocks"
        )
    if now > slip.origin.exp + security.skew and not allow_expired:
        raise Expired(f"workflow {slip.origin.wf!r}: expired {now - slip.origin.exp:.0f} s ago")
