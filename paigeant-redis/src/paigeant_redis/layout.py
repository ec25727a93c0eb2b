"""How messages, writes and entries are laid out for the scripts and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from paigeant.errors import BackendCorrupt, ConfigurationError, MessageTooLarge
from paigeant.model.message import Message, Publication
from paigeant.model.store import ABSENT, ANY, Entry, Expected, Keep, Write, check_key

Operation = list[bytes | str | int]
"""One operation of the script ``commit``, as flat arguments."""

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_HEADER: Final = 41
_FOREVER: Final = 4e14
"""Milliseconds beyond which a time is as good as never, and Redis would refuse it: 12 000 years."""


class Lease(NamedTuple):
    """A claim of a message: ``entry deliveries owner``, which together never come back."""

    queue: str
    member: str

    @property
    def token(self) -> str:
        return f"{self.member} {self.queue}"

    @property
    def deliveries(self) -> int:
        return int(self.member.split(" ", 2)[1])

    @classmethod
    def parse(cls, token: str) -> Lease | None:
        """The lease of a token, or ``None`` for a text that is none."""
        parts = token.split(" ", 3)
        return cls(parts[3], " ".join(parts[:3])) if len(parts) == 4 else None


def publish_operation(
    publications: Iterable[Publication], writes: Iterable[Write], limit: int, lease: Lease | None = None
) -> Operation:
    """Publish and write as one act, and settle ``lease`` if there is one.

    :param limit: largest body or value.
    :raises MessageTooLarge: over the limit.
    :raises ConfigurationError: something that cannot be sent.
    """
    operation: Operation = ["publish", "", "", 0, 0] if lease is None else ["settle", lease.queue, lease.member, 0, 0]
    count = 0
    for write in writes:
        operation += _write(write, limit)
        count += 1
    operation[3] = count
    count = 0
    for publication in publications:
        operation += _publication(publication, limit)
        count += 1
    operation[4] = count
    return operation


def delete_operation(key: str, expected: Expected) -> Operation:
    """Remove an entry."""
    return ["publish", "", "", 1, 0, "delete", check_key(key), _expected(expected), "", "", ""]


def release_operation(lease: Lease, delay: float) -> Operation:
    """Give a message back, to be taken again after ``delay`` seconds."""
    return ["release", lease.queue, lease.member, milliseconds(delay, "delay"), 0]


def undo_operation(queue: bytes, member: bytes) -> Operation:
    """Give back what reached nobody: it does not count as a delivery."""
    return ["undo", queue, member, 0, 0]


def milliseconds(value: float, what: str) -> str:
    """``value`` seconds as the scripts take it; negative is zero.

    :raises ConfigurationError: it is not a number.
    """
    if math.isnan(value):
        raise ConfigurationError(f"{what} is not a number")
    return "0" if value <= 0 else repr(min(value * 1000, _FOREVER))


def read_message(entry: bytes, data: bytes) -> Message:
    """The message in ``data``; what is none of ours becomes one with the id ``entry`` and all of it as body."""
    first, _, rest = data.partition(b"\n")
    headers, _, body = rest.partition(b"\n")
    try:
        mid = first.decode()
        return Message(json.loads(mid) if mid.startswith('"') else mid, body, _headers(headers) if headers else {})
    except (ValueError, TypeError, RecursionError):
        return Message(entry.decode("ascii", "replace"), data)


def read_entry(key: str, data: bytes, where: str) -> Entry:
    """The entry that a put laid out.

    :raises BackendCorrupt: it is none.
    """
    try:
        due = data[16:40].strip()
        return Entry(key, data[_HEADER:], int(data[:16]), float(due) if due else None)
    except ValueError as exc:
        raise BackendCorrupt(f"Redis at {where}: the entry {key!r} was not written by Paigeant") from exc


def _publication(publication: Publication, limit: int) -> Operation:
    message = publication.message
    body = message.body
    _check_bytes(body, limit, "body of message", message.id)
    mid = message.id
    if not mid.isalnum() and (mid.startswith('"') or not mid.isprintable()):
        mid = _encode(mid)
    headers = _encode(dict(message.headers)) if message.headers else ""
    try:
        head = f"{mid}\n{headers}\n".encode()
    except UnicodeEncodeError as exc:
        raise ConfigurationError(f"message id {mid!r} cannot be encoded as UTF-8") from exc
    delay = milliseconds(publication.delay, "delay") if publication.delay else "0"
    ttl = "" if publication.ttl is None else milliseconds(publication.ttl, "ttl")
    return [publication.queue, delay, ttl, head + body]


def _write(write: Write, limit: int) -> Operation:
    key, value, due, ttl = check_key(write.key), write.value, write.due, write.ttl
    mode = "put"
    if isinstance(value, Keep):
        mode, value = "keep", b""
    else:
        _check_bytes(value, limit, "value of", key)
    if due is not None and math.isnan(due):
        raise ConfigurationError(f"due of {key!r} is not a number")
    lives = "" if ttl is None else _lifetime(ttl)
    return [mode, key, _expected(write.expected), "" if due is None else repr(float(due)), lives, value]


def _lifetime(ttl: float) -> str:
    """Whole milliseconds, rounded up; nothing for what never ends."""
    text = milliseconds(ttl, "ttl")
    return "" if float(text) >= _FOREVER else str(max(1, math.ceil(float(text))))


def _expected(expected: Expected) -> str:
    if expected is ANY:
        return "*"
    return "0" if expected is ABSENT else f"{expected:016d}"


def _check_bytes(data: object, limit: int, what: str, name: str) -> None:
    if not isinstance(data, bytes):
        raise ConfigurationError(f"{what} {name!r} is {type(data).__name__}, not bytes")
    if len(data) > limit:
        raise MessageTooLarge(
            f"{what} {name!r} has {len(data)} bytes, more than {limit}; raise PAIGEANT_REDIS_MAX_MESSAGE"
        )


def _headers(text: bytes) -> Mapping[str, str]:
    return _few_headers(text) if len(text) <= _FEW else _read_headers(text)


def _read_headers(text: bytes) -> Mapping[str, str]:
    pairs: list[tuple[object, object]] = json.loads(text, object_pairs_hook=list)
    found = {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, str)}
    return MappingProxyType(found)  # many messages share it


_FEW: Final = 512
"""Bytes of headers worth remembering: a foreigner's may be as long as a message."""
_few_headers = lru_cache(256)(_read_headers)  # most messages have the same few headers
