"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

_FIRST: Final = 0.05
_LONGEST: Final = 2.0


def pauses() -> Iterator[float]:
    """Seconds between the attempts of one outage: longer and longer, and no two clients at the same time."""
    longest = _FIRST
    while True:
        yield longest * (0.5 + random.random() / 2)
        longest = min(longest * 2, _LONGEST)
