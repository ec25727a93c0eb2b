"""Claims as bytes: JSON written in one form, read strictly."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from msgspec import MsgspecError
from msgspec.json import Decoder, Encoder

from ..errors import EnvelopeFormatError, SerializationError
from ..model.records import Claims
from .frame import HARD_LIMIT
from .strict_json import check_depth, loads, reason

C = TypeVar("C", bound=Claims)

_encode = Encoder().encode


def write_claims(claims: Claims) -> bytes:
    """The payload of a record: members in the order of their declaration, without those that are ``None``.

    :raises SerializationError: a member cannot be written as JSON.
    """
    try:
        return _encode(claims)
    except (MsgspecError, ValueError, TypeError, OverflowError) as exc:
        raise SerializationError(f"{_what(type(claims))}: {reason(exc)}") from exc


def read_claims(payload: bytes, model: type[C]) -> C:
    """The inverse; members in any order.

    :raises EnvelopeFormatError: it is not strict JSON, or not exactly these members with values of their types.
    :raises LimitExceeded: more than 32 levels.
    """
    what = _what(model)
    check_depth(payload, what)
    try:
        claims: C = _decoder(model).decode(payload)
    except (MsgspecError, ValueError, RecursionError) as exc:
        loads(payload, limit=HARD_LIMIT, what=what)
        raise EnvelopeFormatError(f"{what}: {reason(exc)}") from exc
    # The parser is lenient (the last of duplicate keys): what it would not write again is looked at strictly.
    if _encode(claims) != payload:
        loads(payload, limit=HARD_LIMIT, what=what)
    return claims


def _what(model: type[Claims]) -> str:
    return f"{model.__name__.lower()} record"


@lru_cache(maxsize=16)
def _decoder(model: type[C]) -> Decoder[C]:
    return Decoder(model)
