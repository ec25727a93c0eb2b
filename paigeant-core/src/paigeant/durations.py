"""How long: a number of seconds, or a timedelta, wherever a caller says one."""

from __future__ import annotations

from datetime import timedelta
from math import inf


def seconds(value: object) -> float | None:
    """The seconds of a timedelta or number; ``None`` if it is neither, or NaN. The caller checks the range."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    return number if abs(number) <= inf else None
