"""Delays without a plugin: one queue for each of a few times, and as many rounds as it takes.

A message waits in the longest bucket that is not too long, comes out, and waits for the rest in the next one. The time
it is due travels with it. All messages of a queue wait equally long, so none waits behind a longer one.
"""

from __future__ import annotations

from bisect import bisect_right

_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30)
_MINUTES, _HOURS = (1, 2, 5, 10, 30), (1, 2, 6, 12, 24)
BUCKETS = tuple(
    int(1000 * seconds) for seconds in (*_SECONDS, *(60 * m for m in _MINUTES), *(3600 * h for h in _HOURS))
)
"""Milliseconds, ascending. Deployed queues depend on them: add some, never change one."""


LONGEST = 100 * 365 * 86_400.0
"""Seconds."""


def bucket(remaining: float) -> int:
    """Milliseconds to wait next, of ``remaining`` (over 0) milliseconds: less than them, but at least the shortest."""
    return BUCKETS[max(0, bisect_right(BUCKETS, remaining) - 1)]
