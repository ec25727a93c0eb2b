"""Seal: from a transition to signed bytes. Nothing leaves that this process would not accept itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.json import Encoder
from msgspec.structs import replace

from ..errors import EnvelopeFormatError, Expired, InvalidWorkflow, LimitExceeded, PayloadMismatch, SerializationError
from ..model.names import check_correlation_id
from ..model.records import Hop, Item, Origin, RevisionGrant, Step, ValueRef
from ..routing import HARD_MAX_RECORDS, HopDraft, Slip, start
from .chain import Opened
from .claims import read_claims, write_claims
from .digest import sha
from .frame import Envelope
from .opening import carried, follow
from .security import Security
from .signatures import sign


async def seal_origin(
    *,
    wf: str,
    steps: Sequence[Step],
    variables: Mapping[str, ValueRef],
    blobs: Mapping[str, bytes],
    security: Security,
    iat: int,
    exp: int,
    deadline: int | None = None,
    reply_to: str | None = None,
    rev: RevisionGrant | None = None,
    ext: Mapping[str, Any] | None = None,
) -> Opened:
    """Make and sign the origin of a workflow.

    :param wf: correlation id.
    :param blobs: the bytes of arguments and variables, by digest.
    :param iat: issued at; ``exp``: expires at; ``deadline``: to be ended by; seconds since the epoch.
    :param reply_to: queue that gets the outcome.
    :param ext: unsigned hints.
    :raises InvalidWorkflow: the parts are no valid origin.
    :raises SignerUnavailable: it could not be signed; nothing was made.
    """
    _check_times(wf, iat, exp, deadline, security)
    payload, origin = _written(
        wf=check_correlation_id(wf),
        iat=iat,
        exp=exp,
        dl=deadline,
        reply_to=reply_to,
        vars=dict(variables) or None,
        items=tuple([Item(step=step) for step in steps]),
        rev=rev,
        **_terms(security),
    )
    record = await sign(payload, "origin", security)
    slip = start(origin)
    kept, lacking = _carried(slip, {}, blobs)
    return _sealed(Opened(Envelope((record,), kept, ext or {}), slip, (), lacking), security)


def _terms(security: Security) -> dict[str, Any]:
    return {
        "iss": security.issuer,
        "aud": security.namespace,
        "policy": security.policy,
        "signers": security.kids,
    }


def _written(**members: Any) -> tuple[bytes, Origin]:
    """The bytes to sign, and what a reader will make of them."""
    try:
        payload = write_claims(Origin(**members))
        return payload, read_claims(payload, Origin)
    except (EnvelopeFormatError, LimitExceeded, SerializationError) as exc:
        raise InvalidWorkflow(f"workflow {members['wf']!r}: {exc}") from exc


def _check_times(wf: str, iat: int, exp: int, deadline: int | None, security: Security) -> None:
    if not iat < exp <= iat + security.max_lifetime:
        raise InvalidWorkflow(f"workflow {wf!r}: must expire within {security.max_lifetime} s of its dispatch")
    if deadline is not None and not iat <= deadline <= exp:
        raise InvalidWorkflow(f"workflow {wf!r}: the deadline must be between dispatch and expiry")


async def seal_hop(
    before: Opened, draft: HopDraft, blobs: Mapping[str, bytes], security: Security, *, now: float
) -> Opened:
    """Append one signed hop: earlier records byte for byte, and only the values still needed.

    :param blobs: the bytes of new values, by digest.
    :param now: seconds since the epoch. The record never says earlier than the one before it.
    :raises ItineraryError: the draft does not follow from the itinerary.
    :raises RevisionNotAuthorized: its revision is beyond the grant.
    :raises Expired: the workflow expired before it could be signed.
    :raises LimitExceeded: it has as many records as an envelope can hold.
    :raises SerializationError: a name or counter in the draft cannot be carried.
    :raises SignerUnavailable: it could not be signed; nothing was made.
    """
    slip = before.slip
    iat = max(int(now), slip.iat)
    if iat > slip.origin.exp + security.skew:
        raise Expired(f"workflow {slip.origin.wf!r}: expired before step {draft.step!r} could be recorded")
    if len(before.envelope.records) + 1 > HARD_MAX_RECORDS:
        raise LimitExceeded(f"workflow {slip.origin.wf!r}: more than {HARD_MAX_RECORDS} records")
    try:
        hop = _hop(before, draft, security, iat)
        payload = write_claims(hop)
        if not _is_plain(draft):
            hop = read_claims(payload, Hop)
    except (EnvelopeFormatError, LimitExceeded, SerializationError) as exc:
        raise SerializationError(f"step {draft.step!r} ({draft.act!r}): {exc}") from exc
    after = follow(slip, hop, before.tip, security)
    record = await sign(payload, "hop", security)
    old = before.envelope
    kept, lacking = _carried(after, old.blobs, blobs)
    envelope = Envelope((*old.records, record), kept, old.ext)
    return _sealed(Opened(envelope, after, (*before.hops, hop), lacking), security)


def _is_plain(draft: HopDraft) -> bool:
    """Whether all its members come from verified records or were made here: then no check of types can fail."""
    return draft.st == "ok" and draft.vars is None and draft.usage is None and draft.rev is None


def content_digest(origin: Origin) -> str:
    """What makes two dispatches the same: the origin without its times, policy and signers.

    These change when the same request is repeated later, or after a key was added; its content does not.
    """
    content = replace(origin, iat=0, exp=0, dl=None, policy="", signers=())
    return sha(b"paigeant/content/1\n" + _ordered(content))


_ordered = Encoder(order="deterministic").encode  # the same variables in another order are the same content


def _sealed(sealed: Opened, security: Security) -> Opened:
    security.verified.sealed(sealed)
    return sealed


def _hop(before: Opened, draft: HopDraft, security: Security, iat: int) -> Hop:
    return Hop(
        wf=before.slip.origin.wf,
        seq=before.slip.seq,
        prev=before.tip,
        step=draft.step,
        act=draft.act,
        dir=draft.dir,
        att=draft.att,
        iss=security.issuer,
        iat=iat,
        st=draft.st,
        out=draft.out,
        vars=dict(draft.vars) if draft.vars else None,
        comp=draft.comp,
        err=draft.err,
        usage=dict(draft.usage) if draft.usage else None,
        req=draft.req,
        rev=draft.rev,
        signers=security.kids,
    )


def _carried(
    slip: Slip, old: Mapping[str, bytes], new: Mapping[str, bytes]
) -> tuple[dict[str, bytes], tuple[ValueRef, ...]]:
    """Like ``carried``, once the new values are what they say."""
    for digest, data in new.items():
        if sha(data) != digest:
            raise PayloadMismatch(f"a new value does not hash to its name {digest!r}")
    return carried(slip, {**old, **new})
