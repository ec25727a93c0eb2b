"""A table of entries with indexes by prefix, due time and end of life. The caller holds the lock."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import inf
from typing import Literal

from ...abc.clock import Clock
from ...errors import RevisionConflict
from ...model.store import ABSENT, ANY, KEEP, Entry, Expected, Keep, Write, check_key

_SLACK = 64


class Entries:
    """The entries of one broker and namespace."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._revision = 0
        self._below: dict[str, set[str]] = {}  # keys by each of their ancestors, for scan
        self._dues: list[tuple[float, str]] = []  # heap; an item is stale unless its entry agrees
        self._ends: dict[str, float] = {}  # monotonic; only of entries with a ttl
        self._graves: list[tuple[float, str]] = []  # heap over _ends, stale likewise

    def get(self, key: str) -> Entry | None:
        self._bury()
        return self._entries.get(key)

    def end(self, key: str) -> float:
        """When the entry expires, by the monotonic clock; ``inf`` is never."""
        return self._ends.get(key, inf)

    def check(self, key: str, expected: Expected, *, keep: bool = False) -> None:
        """Raise ``RevisionConflict`` unless a write may take place, now: what it finds must not expire before it."""
        self._bury()
        self._check(key, expected, keep)

    def _check(self, key: str, expected: Expected, keep: bool) -> None:
        if expected is ANY and not keep:
            return
        entry = self._entries.get(key)
        found = None if entry is None else entry.revision
        missing = keep and found is None
        if missing or (expected is not ANY and found != (None if expected is ABSENT else expected)):
            raise RevisionConflict(key, expected="an entry" if missing and expected is ANY else expected, found=found)

    def check_all(self, writes: Sequence[Write]) -> None:
        """Raise unless every write may take place; nothing is changed."""
        if writes:
            self._bury()
        for write in writes:
            check_key(write.key)
            self._check(write.key, write.expected, write.value is KEEP)

    def put(self, key: str, value: bytes | Literal[Keep.KEEP], due: float | None, ttl: float | None) -> int:
        """Write an entry that was just checked; return its revision."""
        old = self._entries.get(key)
        if old is None:
            self._add_to_index(key)
        if isinstance(value, Keep):
            assert old is not None, "check() refuses KEEP on a missing key"
            value = old.value
        self._revision += 1
        self._entries[key] = Entry(key, value, self._revision, due)
        if due is not None and (old is None or old.due != due):
            self._push_due(due, key)
        if ttl is not None:
            self._push_grave(self._clock.monotonic() + ttl, key)
        elif self._ends:
            self._ends.pop(key, None)
        return self._revision

    def delete(self, key: str) -> None:
        if self._entries.pop(key, None) is None:
            return
        self._ends.pop(key, None)
        for ancestor in _ancestors(key):
            keys = self._below[ancestor]
            keys.discard(key)
            if not keys:
                del self._below[ancestor]

    def scan(self, prefix: str, after: str, limit: int) -> list[Entry]:
        self._bury()
        folder = prefix.rpartition("/")[0]
        keys = self._below.get(folder, ()) if folder else self._entries
        found = sorted(key for key in keys if key > after and key.startswith(prefix))
        return [self._entries[key] for key in found[:limit]]

    def due(self, before: float, limit: int) -> list[str]:
        self._bury()
        found: dict[str, float] = {}
        while self._dues and self._dues[0][0] <= before and len(found) < limit:
            due, key = heapq.heappop(self._dues)
            if self._is_due(due, key):
                found[key] = due
        for key, due in found.items():
            heapq.heappush(self._dues, (due, key))
        return list(found)

    def _is_due(self, due: float, key: str) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.due == due

    def _push_due(self, due: float, key: str) -> None:
        heapq.heappush(self._dues, (due, key))
        if len(self._dues) > 2 * len(self._entries) + _SLACK:  # mostly stale: every put left one behind
            self._dues = list({item for item in self._dues if self._is_due(*item)})
            heapq.heapify(self._dues)

    def _push_grave(self, end: float, key: str) -> None:
        self._ends[key] = end
        heapq.heappush(self._graves, (end, key))
        if len(self._graves) > 2 * len(self._ends) + _SLACK:
            self._graves = [(end, key) for key, end in self._ends.items()]
            heapq.heapify(self._graves)

    def _bury(self) -> None:
        """Delete what has expired."""
        if not self._graves:
            return
        now = self._clock.monotonic()
        while self._graves and self._graves[0][0] <= now:
            end, key = heapq.heappop(self._graves)
            if self._ends.get(key) == end:
                self.delete(key)

    def _add_to_index(self, key: str) -> None:
        for ancestor in _ancestors(key):
            self._below.setdefault(ancestor, set()).add(key)


def _ancestors(key: str) -> list[str]:
    parts = key.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]
