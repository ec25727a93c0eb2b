"""Data registered for compensation, as the state store keeps it: a signed record, a newline, the bytes of the data.

Nobody must be able to have a worker sign, as its own, undo data that somebody else put into the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import MsgspecError
from msgspec.json import Decoder, Encoder

from ..errors import ChainError, EnvelopeFormatError, PayloadMismatch, UntrustedSigner
from ..model.records import Registered, ValueRef
from .claims import write_claims
from .digest import sha
from .frame import Record
from .opening import signed_claims
from .signatures import sign, verify
from .strict_json import reason

if TYPE_CHECKING:
    from .chain import Opened
    from .security import Security

_encode = Encoder().encode
_decode = Decoder(Record).decode


async def seal_registered(
    before: Opened, branch: str, ref: ValueRef, data: bytes, security: Security, *, now: float
) -> bytes:
    """Sign what the next step of ``before`` has registered.

    :param data: the bytes of ``ref``.
    :raises SignerUnavailable: it could not be signed; nothing was made.
    """
    wf, seq, step, head = _place(before)
    claims = Registered(
        wf=wf,
        branch=branch,
        seq=seq,
        step=step,
        head=head,
        data=ref,
        iss=security.issuer,
        iat=max(int(now), before.slip.iat),
        signers=security.kids,
    )
    return _encode(await sign(write_claims(claims), "registered", security)) + b"\n" + data


async def open_registered(stored: bytes, before: Opened, branch: str, security: Security) -> tuple[ValueRef, bytes]:
    """What the next step of ``before`` has registered, and its bytes.

    :raises SecurityError: it must not be trusted, or was registered by another step.
    :raises SignerUnavailable: a verifier did not answer in time.
    """
    text, _, data = stored.partition(b"\n")
    try:
        record = _decode(text)
    except (MsgspecError, ValueError, RecursionError) as exc:
        raise EnvelopeFormatError(f"stored compensation data: {reason(exc)}") from exc
    claims = signed_claims(record, Registered, await verify(record, "registered", security), security)
    if (claims.wf, claims.seq, claims.step, claims.head) != _place(before) or claims.branch != branch:
        raise ChainError("the stored compensation data is that of another step or workflow")
    task = before.slip.next
    if task is not None and task.step.by is not None and claims.iss not in task.step.by:
        raise UntrustedSigner(f"stored compensation data: {claims.iss!r} may not run step {claims.step!r}")
    if len(data) != claims.data.n or sha(data) != claims.data.h:
        raise PayloadMismatch("the stored compensation data does not match its signed digest")
    return claims.data, data


def _place(before: Opened) -> tuple[str, int, str, str]:
    """Where the next step stands. The head covers all that came before it."""
    slip = before.slip
    assert slip.next is not None
    return slip.origin.wf, slip.seq, slip.next.step.id, before.head
