"""The frames of AMQP 0.9.1 that every message costs, written and read without a detour.

Publishing, confirming, delivering and acknowledging make up nearly all traffic. Everything else (handshake, channels,
declarations, heartbeats) is aio-pika's.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from .properties import DELIVERY_MODE, EXPIRATION, HEADERS, MESSAGE_ID, TYPE

METHOD, HEADER, BODY = 1, 2, 3
END = b"\xce"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

DELIVER, RETURN, ACK, NACK = 0x003C003C, 0x003C0032, 0x003C0050, 0x003C0078
GOT, EMPTY = 0x003C0047, 0x003C0048
BLOCKED, UNBLOCKED, CLOSE, GOODBYE = 0x000A003C, 0x000A003D, 0x00140028, 0x000A0032
_PUBLISH, _ACK, _GET = 0x003C0028, 0x003C0050, 0x003C0046

_PERSISTENT = b"\x02"
_MANDATORY = b"\x01"

frame_head = struct.Struct(">BHI")
_content_head = struct.Struct(">HHQH")
_ack_frame = struct.Struct(">BHIIQBB")
_long, _long_long = struct.Struct(">I"), struct.Struct(">Q")


def short(text: str) -> bytes:
    """A short string.

    :raises ValueError: over 255 bytes of UTF-8.
    """
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"{text[:40]!r}... is longer than 255 bytes")
    return bytes((len(data),)) + data


def publish_method(exchange: str, routing_key: str) -> bytes:
    """The payload of a mandatory ``basic.publish``."""
    return _long.pack(_PUBLISH) + b"\0\0" + short(exchange) + short(routing_key) + _MANDATORY


def table(headers: Mapping[str, str]) -> bytes:
    """A table of long strings."""
    parts: list[bytes] = []
    for name, text in headers.items():
        value = text.encode()
        parts += (short(name), b"S", _long.pack(len(value)), value)
    data = b"".join(parts)
    return _long.pack(len(data)) + data


def content_header(size: int, message_id: str, headers: Mapping[str, str], kind: str, expiration: str) -> bytes:
    """The payload of a content header. Empty ``kind`` and ``expiration`` are left out."""
    flags, parts = DELIVERY_MODE | MESSAGE_ID, [b""]
    if headers:
        flags |= HEADERS
        parts.append(table(headers))
    parts.append(_PERSISTENT)
    if expiration:
        flags |= EXPIRATION
        parts.append(short(expiration))
    parts.append(short(message_id))
    if kind:
        flags |= TYPE
        parts.append(short(kind))
    parts[0] = _content_head.pack(60, 0, size, flags)
    return b"".join(parts)


def content(channel: int, method: bytes, header: bytes, body: bytes, frame_max: int) -> list[bytes]:
    """The frames of one message. A body longer than a frame takes several."""
    pieces = [
        frame_head.pack(METHOD, channel, len(method)),
        method,
        END + frame_head.pack(HEADER, channel, len(header)),
        header,
        END,
    ]
    room = frame_max - 8
    for start in range(0, len(body), room):
        part = body[start : start + room] if len(body) > room else body
        pieces += (frame_head.pack(BODY, channel, len(part)), part, END)
    return pieces


def ack_frame(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Acknowledge one delivery; with ``multiple``, all up to it."""
    return _ack_frame.pack(METHOD, channel, 13, _ACK, tag, multiple, 0xCE)


def reject_frame(channel: int, tag: int) -> bytes:
    """Give one delivery back to its queue, at once (``basic.nack`` with ``requeue``)."""
    return _ack_frame.pack(METHOD, channel, 13, NACK, tag, 2, 0xCE)


def get_frame(channel: int, queue: str) -> bytes:
    """Ask for one message of a queue, to be acknowledged."""
    payload = _long.pack(_GET) + b"\0\0" + short(queue) + b"\0"
    return frame_head.pack(METHOD, channel, len(payload)) + payload + END


def read_got(payload: bytes) -> bool:
    """Whether a message got was delivered before (``basic.get-ok``)."""
    return bool(payload[12] & 1)


def read_confirm(payload: bytes) -> tuple[int, bool]:
    """``(delivery tag, multiple)`` of a ``basic.ack`` or ``basic.nack``."""
    return _long_long.unpack_from(payload, 4)[0], bool(payload[12] & 1)


def read_deliver(payload: bytes) -> tuple[bytes, int, bool]:
    """``(consumer tag, delivery tag, redelivered)`` of a ``basic.deliver``."""
    end = 5 + payload[4]
    return payload[5:end], _long_long.unpack_from(payload, end)[0], bool(payload[end + 8] & 1)


def read_return(payload: bytes) -> tuple[str, str]:
    """``(reason, routing key)`` of a ``basic.return``."""
    reason, at = _short(payload, 6)
    _, at = _short(payload, at)
    return reason, _short(payload, at)[0]


def read_reason(payload: bytes) -> str:
    """The reason of a ``connection.blocked``."""
    return _short(payload, 4)[0]


def read_goodbye(payload: bytes) -> tuple[int, str]:
    """``(code, reason)`` of a ``connection.close``."""
    return int.from_bytes(payload[4:6], "big"), _short(payload, 6)[0]


def body_size(payload: bytes) -> int:
    """The length of the body that a content header announces."""
    size: int = _long_long.unpack_from(payload, 4)[0]
    return size


def _short(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end].decode(errors="backslashreplace"), end
