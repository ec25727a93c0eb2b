"""The properties of a content header, as far as they matter here.

Anybody may have written them, so nothing is trusted: not one length, no text to be UTF-8, and no depth. Tables within
tables are stepped over by their length, never entered.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADERS, DELIVERY_MODE, EXPIRATION, MESSAGE_ID, TYPE = 1 << 13, 1 << 12, 1 << 8, 1 << 7, 1 << 5

_FIXED = {1 << 12: 1, 1 << 11: 1, 1 << 6: 8}
"""Widths of delivery mode, priority and timestamp; the other properties are short strings."""
_UNSIGNED, _SIGNED = {0x42: 1, 0x75: 2, 0x69: 4}, {0x62: 1, 0x73: 2, 0x49: 4, 0x6C: 8, 0x4C: 8}
"""Whole numbers of a table, and their widths, as RabbitMQ writes them."""
_WIDTHS = {0x74: 1, 0x66: 4, 0x64: 8, 0x44: 5, 0x54: 8, 0x56: 0} | _UNSIGNED | _SIGNED
_TEXT, _COUNTED = 0x53, frozenset(b"SxAF")
"""Text; and what tells its length first: text, bytes, arrays and tables."""

_long = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Properties:
    """What cannot be read is missing: text that is no UTF-8, and of the headers, all but texts and whole numbers."""

    message_id: str | None
    headers: dict[str, object]
    type: str


_NOTHING = Properties(None, {}, "")


def read_properties(payload: bytes) -> Properties:
    """The properties of a content header. Broken ones are as good as none."""
    try:
        return _read(payload)
    except (LookupError, struct.error):
        return _NOTHING


def _read(payload: bytes) -> Properties:
    flags = payload[12] << 8 | payload[13]
    at, headers, message_id, kind = 14, dict[str, object](), None, ""
    for bit in range(15, 4, -1):
        mask = 1 << bit
        if not flags & mask:
            continue
        if mask == HEADERS:
            headers, at = _table(payload, at)
        elif mask == MESSAGE_ID:
            message_id, at = _short(payload, at)
        elif mask == TYPE:
            text, at = _short(payload, at)
            kind = text or ""
        else:
            at += _FIXED.get(mask) or 1 + payload[at]
    return Properties(message_id, headers, kind)


def _short(payload: bytes, at: int) -> tuple[str | None, int]:
    end = at + 1 + payload[at]
    return _text(payload[at + 1 : end]), end


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _table(payload: bytes, at: int) -> tuple[dict[str, object], int]:
    end = at + 4 + _long.unpack_from(payload, at)[0]
    found, place = dict[str, object](), at + 4
    while place < end:
        name, place = _short(payload, place)
        value, place = _value(payload, place)
        if name is not None and value is not None:
            found[name] = value
    return found, end


def _value(payload: bytes, at: int) -> tuple[str | int | None, int]:
    """A value, ``None`` for what does not matter, and where the next field begins."""
    kind, start = payload[at], at + 1
    if kind in _COUNTED:
        start = at + 5
        end = start + _long.unpack_from(payload, at + 1)[0]
        return _text(payload[start:end]) if kind == _TEXT else None, end
    end = start + _WIDTHS[kind]
    if kind in _SIGNED or kind in _UNSIGNED:
        return int.from_bytes(payload[start:end], "big", signed=kind in _SIGNED), end
    return None, end
