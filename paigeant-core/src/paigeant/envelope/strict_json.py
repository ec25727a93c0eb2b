"""JSON without its ambiguities: what two readers could understand differently is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from ..errors import EnvelopeFormatError, LimitExceeded
from ..model.canonical_json import UNSURE, read_canonical

MAX_DEPTH = 32
_MAX_INT = 2**53 - 1
_LONGEST_REASON = 200

_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE = re.compile(rb"\\u[dD]")


def loads(data: bytes, *, limit: int, what: str) -> Any:
    """Parse strict JSON (RFC 8259, narrowed as I-JSON, RFC 7493, does).

    Refused: another encoding than UTF-8, a byte order mark, duplicate keys, NaN and infinities,
    numbers outside of the exact range of a double, lone surrogates, more than 32 levels.

    :param limit: most bytes allowed.
    :param what: names the data in errors.
    :raises LimitExceeded: too long or too deep.
    :raises EnvelopeFormatError: any of the others.
    """
    if len(data) > limit:
        raise LimitExceeded(f"{what}: {len(data)} bytes, more than the limit of {limit}")
    value = read_canonical(data, MAX_DEPTH)
    return _loads(data, what) if value is UNSURE else value


def _loads(data: bytes, what: str) -> Any:
    check_depth(data, what)
    try:
        value = _decoder.decode(data.decode())
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as exc:
        raise LimitExceeded(f"{what}: nested too deeply") from exc
    except ValueError as exc:  # JSONDecodeError, UnicodeError, and those of the hooks below
        raise EnvelopeFormatError(f"{what}: not strict JSON: {reason(exc)}") from exc
    return value


def check_depth(data: bytes, what: str) -> None:
    """Refuse more than 32 levels, before parsing and without a loop over bytes: each turn removes the innermost.

    :raises LimitExceeded: there are more.
    """
    if len(data.translate(None, _NO_BRACKETS)) <= 2 * MAX_DEPTH:
        return
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(unescaped.split(b'"')[::2]).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if b"[]" in brackets:
        raise LimitExceeded(f"{what}: more than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return members


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number overflows")
    return value


def _int(text: str) -> int:
    if abs(value := int(text)) > _MAX_INT:
        raise ValueError("a whole number is over 2^53-1")
    return value


def reason(exc: Exception) -> str:
    """Why a parser or writer refused: printable, short, without the data, which may be secret. (``str`` of a
    UnicodeError holds some of it.)"""
    text = exc.reason if isinstance(exc, (UnicodeDecodeError, UnicodeEncodeError)) else str(exc)
    return (text if text.isprintable() else ascii(text))[:_LONGEST_REASON]


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
