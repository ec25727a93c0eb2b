"""What the records of a refused message claim. Nothing of it is verified, and no value is shown."""

from __future__ import annotations

from typing import Any


def summary(body: bytes) -> dict[str, Any]:
    """The claims of an envelope: workflow, issuer, steps, hops, sizes; or why it cannot be read."""
    from pydantic import ValidationError

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
    except ValidationError as exc:
        return {"unreadable": f"a record has {exc.error_count()} wrong members"}


def _claims(payload: str) -> bytes:
    from ..envelope import unb64url

    return unb64url(payload)


def _origin(payload: str) -> dict[str, Any]:
    from ..model.records import Origin, StepItem

    origin = Origin.model_validate_json(_claims(payload))
    return {
        "workflow": origin.wf,
        "issuer": origin.iss,
        "namespace": origin.aud,
        "issued_at": origin.iat,
        "expires": origin.exp,
        "steps": [item.step.act if isinstance(item, StepItem) else type(item).__name__ for item in origin.items],
        "variables": sorted(origin.vars or ()),
        "signers": list(origin.signers),
    }


def _hop(payload: str) -> str:
    from ..model.records import Hop

    hop = Hop.model_validate_json(_claims(payload))
    return f"{hop.seq} {hop.dir} {hop.act} {hop.st} (attempt {hop.att}, by {hop.iss})"
