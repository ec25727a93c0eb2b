"""What the built-in codecs carry: plain values, checked alike on the way out and on the way in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

from ..errors import SerializationError

MAX_DEPTH = 100
"""Deepest nesting of lists and dicts: far below what would exhaust the interpreter's stack."""

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class PlainRules:
    """What a format can carry without loss.

    :param smallest: smallest integer.
    :param largest: largest integer.
    :param binary: whether ``bytes`` are carried.
    """

    smallest: int
    largest: int
    binary: bool


class _Refused(Exception):
    """Gathers the path while the stack unwinds, so that the good case keeps none."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []


def check_plain(value: Any, rules: PlainRules) -> None:
    """Accept exactly ``None``, ``bool``, ``int``, finite ``float``, ``str``, ``list`` and ``dict`` with
    string keys (and ``bytes``), no subclasses, nested at most ``MAX_DEPTH`` levels.

    :raises SerializationError: with the path to the first value that is none of them.
    """
    try:
        _walk(value, rules, 0)
    except _Refused as refused:
        path = "".join(reversed(refused.path))
        raise SerializationError(f"value{path}: {refused}") from None


def _walk(value: Any, rules: PlainRules, depth: int) -> None:
    kind = cast("Any", type(value))
    if kind is str:
        if not value.isascii():
            _check_text(value)
    elif kind is dict:
        _walk_dict(value, rules, depth + 1)
    elif kind is list:
        _walk_list(value, rules, depth + 1)
    elif kind is int:
        if not rules.smallest <= value <= rules.largest:
            raise _Refused(f"integer outside {rules.smallest} to {rules.largest}; send it as a string")
    elif kind is float:
        if not math.isfinite(value):
            raise _Refused("NaN and infinity have no form that all readers understand; send None or a string")
    elif not (value is None or kind is bool or (kind is bytes and rules.binary)):
        raise _Refused(f"type {kind.__name__} is not a plain value")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Refused(f"nested deeper than {MAX_DEPTH} levels")


def _walk_dict(value: dict[Any, Any], rules: PlainRules, depth: int) -> None:
    _check_depth(depth)
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str:
                raise _Refused(f"it has a key of type {type(key).__name__}; keys must be strings")
            if not key.isascii():
                _check_text(key)
            _walk(item, rules, depth)
    except _Refused as refused:
        text = repr(key)
        refused.path.append(f"[{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}]")
        raise


def _walk_list(value: list[Any], rules: PlainRules, depth: int) -> None:
    _check_depth(depth)
    done = 0
    try:
        for item in value:
            _walk(item, rules, depth)
            done += 1
    except _Refused as refused:
        refused.path.append(f"[{done}]")
        raise


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Refused("text with a lone surrogate is not Unicode") from None


def unique_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a dict of pairs with distinct keys (an ``object_pairs_hook``).

    :raises SerializationError: a key occurs twice, so that two readers could see different values.
    """
    made = dict(pairs)
    if len(made) != len(pairs):
        raise SerializationError("a key occurs twice in one object")
    return made
