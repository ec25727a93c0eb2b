"""What the records of a refused message claim. Nothing of it is verified, and no value is shown."""

from __future__ import annotations

from typing import Any


def summary(body: bytes) -> dict[str, Any]:
    """The claims of an envelope: workflow, issuer, steps, hops, sizes; or why it cannot be read."""
    from ..envelope import HARD_LIMIT, read_envelope
    from ..errors import SecurityError

    try:
        envelope = read_envelope(body, limit=HARD_LIMIT)
        return {
            "verified": False,
            **_origin(envelope.origin.payload),
            "hops": [_hop(record.payload) for record in envelope.chain],
            "signatures": [len(record.signatures) for record in envelope.records],
            "values": len(envelope.blobs),
        }
    except SecurityError as exc:
        return {"unreadable": f"{type(exc).__name__}: {exc}"}


def _origin(payload: str) -> dict[str, Any]:
    from ..envelope import read_claims, unb64url
    from ..model.records import Origin

    origin = read_claims(unb64url(payload), Origin)
    return {
        "workflow": origin.wf,
        "issuer": origin.iss,
        "namespace": origin.aud,
        "issued_at": origin.iat,
        "expires": origin.exp,
        "steps": [item.step.act if item.step is not None else item.kind for item in origin.items],
        "variables": sorted(origin.vars or ()),
        "signers": list(origin.signers),
    }


def _hop(payload: str) -> str:
    from ..envelope import read_claims, unb64url
    from ..model.records import Hop

    hop = read_claims(unb64url(payload), Hop)
    return f"{hop.seq} {hop.dir} {hop.act} {hop.st} (attempt {hop.att}, by {hop.iss})"
