"""The envelope: open (bytes to verified slip) and seal (transition to signed bytes)."""

from .chain import Opened
from .claims import read_claims, write_claims
from .digest import b64url, sha, unb64url
from .frame import (
    ATTEMPT_HEADER,
    CONTENT_TYPE,
    CONTENT_TYPE_HEADER,
    DEFAULT_LIMIT,
    GEN_HEADER,
    HARD_LIMIT,
    NOT_BEFORE_HEADER,
    Envelope,
    Record,
    Signature,
    read_envelope,
)
from .opening import open_envelope
from .sealing import content_digest, seal_hop, seal_origin
from .security import Security
from .values import Codecs

__all__ = [
    "ATTEMPT_HEADER",
    "CONTENT_TYPE",
    "CONTENT_TYPE_HEADER",
    "DEFAULT_LIMIT",
    "GEN_HEADER",
    "HARD_LIMIT",
    "NOT_BEFORE_HEADER",
    "Codecs",
    "Envelope",
    "Opened",
    "Record",
    "Security",
    "Signature",
    "b64url",
    "content_digest",
    "open_envelope",
    "read_claims",
    "read_envelope",
    "seal_hop",
    "seal_origin",
    "sha",
    "unb64url",
    "write_claims",
]
