"""The envelope as bytes: the origin, the chain of hops, the values still needed, unsigned hints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from pydantic_core import to_json

from ..errors import EnvelopeFormatError, LimitExceeded, UnsupportedVersion
from ..model.lazy import lazy
from ..routing import HARD_MAX_RECORDS
from .digest import b64url, sha, unb64url
from .strict_json import loads

CONTENT_TYPE = "application/vnd.paigeant.envelope+json"
CONTENT_TYPE_HEADER = "content-type"
ATTEMPT_HEADER = "paigeant-attempt"
GEN_HEADER = "paigeant-gen"
NOT_BEFORE_HEADER = "paigeant-not-before"

DEFAULT_LIMIT = 256 * 1024
HARD_LIMIT = 1024 * 1024
MAX_SIGNATURES = 8
MAX_EXT = 4 * 1024

_DIGEST_LENGTH = 43


class Signature(NamedTuple):
    """One signature of a record, both parts base64url (RFC 7515, general JSON serialization)."""

    protected: str
    value: str


@dataclass(frozen=True)
class Record:
    """A signed statement: a JWS. Copied byte for byte, never written anew."""

    payload: str
    signatures: tuple[Signature, ...]

    @lazy
    def digest(self) -> str:
        """Digest of the payload *and* of all signatures: none can be stripped or added later."""
        signatures = "".join(f"\n{s.protected}.{s.value}" for s in self.signatures)
        return sha(f"paigeant/record/1\n{self.payload}{signatures}".encode())

    @lazy
    def head(self) -> str:
        """Digest of the payload alone: the same for another valid signature of the same statement."""
        return sha(self.payload.encode())

    @lazy
    def members(self) -> dict[str, Any]:
        """As in the frame."""
        signatures = [{"protected": protected, "signature": value} for protected, value in self.signatures]
        return {"payload": self.payload, "signatures": signatures}


@dataclass(frozen=True)
class Envelope:
    """What travels.

    :param records: the origin, then the hops so far.
    :param blobs: values by digest.
    :param ext: unsigned, untrusted hints (trace context).
    """

    records: tuple[Record, ...]
    blobs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    ext: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def origin(self) -> Record:
        return self.records[0]

    @property
    def chain(self) -> tuple[Record, ...]:
        """The hops."""
        return self.records[1:]

    @lazy
    def body(self) -> bytes:
        """The bytes that ``read_envelope`` reads. Records keep theirs; UTF-8 values travel as they are."""
        origin, *chain = [record.members for record in self.records]
        frame: dict[str, Any] = {"v": 1, "origin": origin, "chain": chain}
        if self.blobs:
            frame["blobs"] = {digest: _carried(data) for digest, data in self.blobs.items()}
        if self.ext:
            frame["ext"] = self.ext
        return to_json(frame)


def read_envelope(body: bytes, *, limit: int = DEFAULT_LIMIT) -> Envelope:
    """Parse an envelope. Nothing in it is verified yet.

    :param limit: most bytes allowed, itself capped at 1 MiB.
    :raises SecurityError: ``EnvelopeFormatError``, ``LimitExceeded`` or ``UnsupportedVersion``.
    """
    members = _members(loads(body, limit=min(limit, HARD_LIMIT), what="envelope"), "envelope")
    version = members.get("v")
    if type(version) is int and version != 1:
        raise UnsupportedVersion(f"envelope version {version}; this release reads version 1")
    if type(version) is not int or not {"origin", "chain"} <= members.keys():
        raise EnvelopeFormatError("envelope: 'v', 'origin' and 'chain' are required")
    if unknown := members.keys() - {"v", "origin", "chain", "blobs", "sealed", "ext"}:
        raise EnvelopeFormatError(f"envelope: unknown members {sorted(unknown)!r}")
    if "sealed" in members:
        raise UnsupportedVersion("envelope: sealed fields, which this release cannot read: upgrade the worker")
    chain = _list(members["chain"], "envelope: 'chain'")
    if len(chain) >= HARD_MAX_RECORDS:
        raise LimitExceeded(f"envelope: {1 + len(chain)} records, more than {HARD_MAX_RECORDS}")
    return Envelope(
        (_record(members["origin"]), *map(_record, chain)),
        _blobs(members.get("blobs", {})),
        _ext(members.get("ext", {})),
    )


def write_envelope(envelope: Envelope) -> bytes:
    """The bytes of an envelope."""
    return envelope.body


def _carried(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": b64url(data)}


def _members(value: object, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise EnvelopeFormatError(f"{what}: expected an object")
    return cast("dict[str, Any]", value)


def _list(value: object, what: str) -> list[object]:
    if type(value) is not list:
        raise EnvelopeFormatError(f"{what}: expected an array")
    return cast("list[object]", value)


def _exactly(value: object, names: set[str], what: str) -> dict[str, Any]:
    members = _members(value, what)
    if members.keys() != names:
        raise EnvelopeFormatError(f"{what}: members must be exactly {sorted(names)!r}")
    return members


def _text(value: object, what: str) -> str:
    if type(value) is not str:
        raise EnvelopeFormatError(f"{what}: expected a string")
    return value


def _record(value: object) -> Record:
    members = _exactly(value, _RECORD, "record")
    signatures = _list(members["signatures"], "record: 'signatures'")
    if len(signatures) > MAX_SIGNATURES:
        raise LimitExceeded(f"record: {len(signatures)} signatures, more than {MAX_SIGNATURES}")
    return Record(_text(members["payload"], "record: 'payload'"), tuple(map(_signature, signatures)))


def _signature(value: object) -> Signature:
    members = _exactly(value, _SIGNATURE, "signature")
    return Signature(_text(members["protected"], "signature"), _text(members["signature"], "signature"))


_RECORD = {"payload", "signatures"}
_SIGNATURE = {"protected", "signature"}


def _blobs(value: object) -> dict[str, bytes]:
    blobs: dict[str, bytes] = {}
    for digest, content in _members(value, "envelope: 'blobs'").items():
        if len(digest) != _DIGEST_LENGTH:
            raise EnvelopeFormatError("envelope: a value is not named by its digest")
        if type(content) is str:
            blobs[digest] = content.encode()
        else:
            blobs[digest] = unb64url(_text(_exactly(content, {"b64"}, "value")["b64"], "value"))
    return blobs


def _ext(value: object) -> dict[str, Any]:
    ext = _members(value, "envelope: 'ext'")
    if ext and len(to_json(ext)) > MAX_EXT:
        raise LimitExceeded(f"envelope: 'ext' is over {MAX_EXT} bytes")
    return ext
