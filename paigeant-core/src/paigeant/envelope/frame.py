"""The envelope as bytes: the origin, the chain of hops, the values still needed, unsigned hints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from msgspec import UNSET, MsgspecError, Raw, Struct, UnsetType, field
from msgspec.json import Decoder, Encoder

from ..errors import EnvelopeFormatError, LimitExceeded, UnsupportedVersion
from ..model.lazy import lazy
from ..routing import HARD_MAX_RECORDS
from .digest import b64url, sha, unb64url
from .strict_json import check_depth, loads, reason

CONTENT_TYPE = "application/vnd.paigeant.envelope+json"
CONTENT_TYPE_HEADER = "content-type"
HEADERS: Mapping[str, str] = {CONTENT_TYPE_HEADER: CONTENT_TYPE}
"""Of every message that holds an envelope."""
ATTEMPT_HEADER = "paigeant-attempt"
GEN_HEADER = "paigeant-gen"
NOT_BEFORE_HEADER = "paigeant-not-before"
SEEN_HEADER = "paigeant-seen"
"""When a worker first met a message that it could not verify yet, in milliseconds since the epoch."""

DEFAULT_LIMIT = 256 * 1024
HARD_LIMIT = 1024 * 1024
MAX_SIGNATURES = 8
MAX_EXT = 4 * 1024

_DIGEST_LENGTH = 43


def header_number(headers: Mapping[str, str], name: str, default: int) -> int:
    """A number in a header, which anyone can write: what is none counts as ``default``."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else default


class _Frame(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what envelopes are made of: exact members, exact types."""


class Signature(_Frame, frozen=True):
    """One signature of a record, both parts base64url (RFC 7515, general JSON serialization)."""

    protected: str
    value: str = field(name="signature")


class Record(_Frame, frozen=True, dict=True):
    """A signed statement: a JWS. Copied byte for byte, never written anew."""

    payload: str
    signatures: tuple[Signature, ...]

    @lazy
    def digest(self) -> str:
        """Digest of the payload *and* of all signatures: none can be stripped or added later."""
        signatures = "".join([f"\n{s.protected}.{s.value}" for s in self.signatures])
        return sha(f"paigeant/record/1\n{self.payload}{signatures}".encode())

    @lazy
    def head(self) -> str:
        """Digest of the payload alone: the same for another valid signature of the same statement."""
        return sha(self.payload.encode())


_ABSENT = Raw(b"")


class Binary(_Frame, frozen=True):
    """A value that is no UTF-8 text, base64url."""

    b64: str


class Frame(_Frame, frozen=True, kw_only=True, omit_defaults=True):
    """The members of an envelope, as JSON has them. ``ext`` may hold anything: parsed once its length is known."""

    v: int
    origin: Record
    chain: tuple[Record, ...]
    blobs: dict[str, str | Binary] | UnsetType = UNSET
    ext: Raw = _ABSENT


class _Hint(Struct, frozen=True):
    """What tells an envelope of another release."""

    v: int = 1
    sealed: Raw = _ABSENT


class Envelope(Struct, frozen=True, dict=True):
    """What travels.

    :param records: the origin, then the hops so far.
    :param blobs: values by digest.
    :param ext: unsigned, untrusted hints (trace context).
    """

    records: tuple[Record, ...]
    blobs: Mapping[str, bytes] = {}
    ext: Mapping[str, Any] = {}

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
        blobs = {digest: _carried(data) for digest, data in self.blobs.items()}
        ext = Raw(_encode(dict(self.ext))) if self.ext else _ABSENT
        return _encode(Frame(v=1, origin=self.origin, chain=self.chain, blobs=blobs or UNSET, ext=ext))


def read_envelope(body: bytes, *, limit: int = DEFAULT_LIMIT) -> Envelope:
    """Parse an envelope. Nothing in it is verified yet.

    :param limit: most bytes allowed, itself capped at 1 MiB.
    :raises SecurityError: ``EnvelopeFormatError``, ``LimitExceeded`` or ``UnsupportedVersion``.
    """
    frame = _frame(body, min(limit, HARD_LIMIT))
    _check_limits(frame)
    if (written := _encode(frame)) != body:  # what the parser would not write again is looked at strictly
        _check_keys(body, written)
        loads(body, limit=limit, what="envelope")
    return Envelope((frame.origin, *frame.chain), _blobs(frame.blobs or {}), _ext(bytes(frame.ext)))


def _frame(body: bytes, limit: int) -> Frame:
    if len(body) > limit:
        raise LimitExceeded(f"envelope: {len(body)} bytes, more than the limit of {limit}")
    try:
        frame = _decode(body)
    except (MsgspecError, ValueError, RecursionError) as exc:
        check_depth(body, "envelope")
        _check_release(body)
        raise EnvelopeFormatError(f"envelope: {reason(exc)}") from exc
    _check_version(frame.v)
    return frame


def _check_version(version: int) -> None:
    if version != 1:
        raise UnsupportedVersion(f"envelope version {version}; this release reads version 1")


def _check_release(body: bytes) -> None:
    """A newer version, or what only a newer release can read, is told apart from what is wrong."""
    try:
        hint = _decode_hint(body)
    except (MsgspecError, ValueError, RecursionError):
        return
    _check_version(hint.v)
    if len(hint.sealed):
        raise UnsupportedVersion("envelope: sealed fields, which this release cannot read: upgrade the worker")


def _check_limits(frame: Frame) -> None:
    """Before anything is done that takes longer, the longer the message is: nobody is known to have signed it yet."""
    if len(frame.chain) >= HARD_MAX_RECORDS:
        raise LimitExceeded(f"envelope: {1 + len(frame.chain)} records, more than {HARD_MAX_RECORDS}")
    for record in (frame.origin, *frame.chain):
        if len(record.signatures) > MAX_SIGNATURES:
            raise LimitExceeded(f"record: {len(record.signatures)} signatures, more than {MAX_SIGNATURES}")
    if len(frame.ext) > MAX_EXT:
        raise LimitExceeded(f"envelope: 'ext' is over {MAX_EXT} bytes")


def _check_keys(body: bytes, written: bytes) -> None:
    """Of a key that appears twice the parser keeps one: so there are more quotes than it would write."""
    if _quotes(body) != _quotes(written):
        raise EnvelopeFormatError("envelope: not strict JSON: a key appears twice in one object")


def _quotes(data: bytes) -> int:
    return data.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"')


_decode = Decoder(Frame).decode
_decode_hint = Decoder(_Hint).decode
_encode = Encoder().encode


def _carried(data: bytes) -> str | Binary:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Binary(b64url(data))


def _blobs(members: Mapping[str, str | Binary]) -> dict[str, bytes]:
    blobs: dict[str, bytes] = {}
    for digest, content in members.items():
        if len(digest) != _DIGEST_LENGTH:
            raise EnvelopeFormatError("envelope: a value is not named by its digest")
        blobs[digest] = content.encode() if isinstance(content, str) else unb64url(content.b64)
    return blobs


def _ext(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    (ext,) = loads(b"[%b]" % data, limit=MAX_EXT + 2, what="envelope")  # one level down, as in the envelope
    if type(ext) is not dict:
        raise EnvelopeFormatError("envelope: 'ext' must be an object")
    return cast("dict[str, Any]", ext)
