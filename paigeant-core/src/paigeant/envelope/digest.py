"""Digests and their text form: base64url without padding (RFC 4648 section 5)."""

from __future__ import annotations

import binascii
import hashlib

from ..errors import EnvelopeFormatError

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")  # those of the other alphabet, and padding, become invalid


def b64url(data: bytes) -> str:
    """Encode."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def unb64url(text: str) -> bytes:
    """Decode exactly what ``b64url`` gives: no padding, no other characters, no loose bits.

    :raises EnvelopeFormatError: it is anything else.
    """
    try:
        raw = text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4)
        data = binascii.a2b_base64(raw, strict_mode=True)
    except ValueError as exc:
        raise EnvelopeFormatError("not base64url") from exc
    loose = len(data) % 3  # bytes in the last, incomplete group, whose spare bits must be zero
    if loose and b64url(data[-loose:]) != text[-loose - 1 :]:
        raise EnvelopeFormatError("not base64url in its one form")
    return data


def sha(data: bytes) -> str:
    """SHA-256 as base64url: 43 characters."""
    digest = binascii.b2a_base64(hashlib.sha256(data).digest(), newline=False)
    return digest[:-1].translate(_TO_URL).decode("ascii")
