"""The index of due times: a hint is an empty message whose subject says when, and which key.

``<prefix>.d.<bucket>.<milliseconds>.<key>``. Buckets are of about a minute, so that looking for what is
due lists no more than that. A hint whose entry moved on is filed anew, then removed, by who looks.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from paigeant.errors import BackendCorrupt, BackendError
from paigeant.model.store import KEY

from .errors import Refusal
from .link import log
from .session import Session

if TYPE_CHECKING:
    from .entries import Entries

_BUCKET = 64.0
_LATE = 3
"""Buckets that are looked at although they are past: clocks differ, and messages take their time."""
_MOST = 32
"""Buckets; if more were not looked at for long, all hints are listed at once."""
_EVERYTHING_EVERY = 600.0
_CLEANED_AT_ONCE = 64
_SETTLED_AFTER = 30.0
"""Seconds; a younger hint may be ahead of its entry."""


class Hint(NamedTuple):
    """Look at ``key`` at ``due``."""

    due: float
    key: str
    subject: str


def hint_subject(session: Session, key: str, due: float) -> str:
    """The subject of a hint. What is past already is filed as of now: nobody looks at old buckets for long."""
    bucket = max(_bucket(due), _bucket(session.clock()))
    return f"{session.names.prefix}.d.{bucket}.{_milliseconds(due)}.{key.replace('/', '.')}"


def _milliseconds(due: float) -> int:
    return math.floor(min(max(due, 0.0), 1e12) * 1000)


def _bucket(when: float) -> int:
    return int(min(max(when, 0.0), 1e12) // _BUCKET)


class Hints:
    """Looks for what is due."""

    def __init__(self, session: Session, entries: Entries) -> None:
        self._session, self._entries = session, entries
        self._old: set[int] = set()
        self._looked = 0
        self._all_at = -math.inf
        self._cleaning: asyncio.Task[None] | None = None

    async def due(self, before: float, limit: int) -> list[str]:
        """Keys that are due, about the earliest first."""
        now = await self._session.now()
        keys: dict[str, None] = {}
        stale: list[Hint] = []
        waiting = sorted(hint for hint in await self._list(before, now) if hint.due <= before)
        while waiting and len(keys) < limit:
            some, waiting = waiting[: limit * 2], waiting[limit * 2 :]
            found = await asyncio.gather(*map(self._due_of, some), return_exceptions=True)
            for hint, due in zip(some, found, strict=True):
                if isinstance(due, BackendCorrupt):
                    log.debug("%s", due)  # perhaps of a newer release: its hint stays
                elif isinstance(due, BaseException):
                    raise due
                elif due is not None and due <= before:
                    keys[hint.key] = None
                elif hint.due <= now:
                    stale.append(hint)
        self._clean(stale)
        return list(keys)[:limit]

    async def close(self) -> None:
        """Stop cleaning."""
        task, self._cleaning = self._cleaning, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _due_of(self, hint: Hint) -> float | None:
        stored = await self._entries.read(hint.key)
        return stored.due if stored.lives(self._session.clock()) else None

    async def _list(self, before: float, now: float) -> list[Hint]:
        """The hints since the last look, and of what is left of the past; now and then, and at first, all of them."""
        session = self._session
        current, began = _bucket(now), time.monotonic()
        wanted = self._old | set(range(min(current, max(self._looked, current - _MOST)) - _LATE, current + 2))
        all_are_wanted = self._looked < current - _MOST or began - self._all_at > _EVERYTHING_EVERY
        if before > now + _BUCKET or all_are_wanted or len(wanted) > 4 * _MOST:
            found = await self._parse(f"{session.names.prefix}.d.>")
            self._all_at = began
        else:
            filters = [f"{session.names.prefix}.d.{bucket}.>" for bucket in wanted]
            found = [pair for page in await asyncio.gather(*map(self._parse, filters)) for pair in page]
        self._old = {bucket for bucket, _ in found if bucket < current}
        self._looked = current
        return [hint for _, hint in found]

    async def _parse(self, matching: str) -> list[tuple[int, Hint]]:
        session, found = self._session, list[tuple[int, Hint]]()
        start = len(session.names.prefix) + 3
        for subject in await session.api.subjects(session.names.state, matching):
            bucket, _, rest = subject[start:].partition(".")
            when, _, key = rest.partition(".")
            if _is_number(bucket) and _is_number(when) and KEY.fullmatch(key := key.replace(".", "/")):
                found.append((int(bucket), Hint(int(when) / 1000, key, subject)))
        return found

    def _clean(self, stale: list[Hint]) -> None:
        """In the background: nobody waits for it."""
        if stale and (self._cleaning is None or self._cleaning.done()):
            random.shuffle(stale)  # others clean, too
            self._cleaning = asyncio.create_task(self._remove_all(stale))

    async def _remove_all(self, stale: list[Hint]) -> None:
        for start in range(0, len(stale), _CLEANED_AT_ONCE):
            some = stale[start : start + _CLEANED_AT_ONCE]
            for end in await asyncio.gather(*map(self._remove, some), return_exceptions=True):
                if isinstance(end, (BackendError, Refusal)):
                    log.debug("an old hint stays: %s", end)

    async def _remove(self, hint: Hint) -> None:
        """The entry moved on: file a hint for where it is now, then remove exactly this message."""
        session = self._session
        sequence, stored_at = await self._find(hint.subject)
        if sequence == 0 or session.clock() - stored_at < _SETTLED_AFTER:
            return
        due = await self._due_of(hint)
        if due is not None:
            if (again := hint_subject(session, hint.key, due)) == hint.subject:
                return
            told = await session.publish(again)
            session.api.read(told, again)
        await session.api.call(
            f"STREAM.MSG.DELETE.{session.names.state}", {"seq": sequence, "no_erase": True}, write=True
        )

    async def _find(self, subject: str) -> tuple[int, float]:
        """Sequence and time of a hint; 0: it is gone."""
        session = self._session
        msg = await session.link.request(f"{session.api.prefix}.DIRECT.GET.{session.names.state}.{subject}")
        headers = msg.headers or {}
        if not headers.get("Nats-Sequence", "").isdigit():
            return 0, 0.0
        whole = headers.get("Nats-Time-Stamp", "")[:19]
        return int(headers["Nats-Sequence"]), datetime.fromisoformat(f"{whole}+00:00").timestamp()


def _is_number(text: str) -> bool:
    """Of ours: anyone may publish a subject of digits without end."""
    return len(text) <= 16 and text.isascii() and text.isdigit()
