"""All watchers of a process, served by one query per change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterable

from ...errors import BackendError

_POLL = 0.5


class Watches:
    """Events by key, set when the entry may have changed.

    :param changes: gives, for a number, the counters of numbers and deletions and the keys changed since.
    """

    def __init__(self, changes: Callable[[int], Awaitable[tuple[int, int, list[str]]]]) -> None:
        self._changes = changes
        self._events: dict[str, set[asyncio.Event]] = {}
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def watching(self, key: str) -> Generator[asyncio.Event]:
        """Register; read the entry after that, then wait for the event."""
        event = asyncio.Event()
        self._events.setdefault(key, set()).add(event)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            yield event
        finally:
            self._events[key].discard(event)
            if not self._events[key]:
                del self._events[key]
            if not self._events:
                self._stop()

    def look(self) -> None:
        """Something changed: look what."""
        self._look.set()

    def close(self) -> None:
        """Stop looking; wake all, who will find the store closed."""
        self._stop()
        self._wake(self._events)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _wake(self, keys: Iterable[str]) -> None:
        for key in keys:
            for event in self._events.get(key, ()):
                event.set()

    async def _run(self) -> None:
        """The first look cannot know what was missed, so it wakes everyone; so does every deletion."""
        after, deletions = -1, -1
        while True:
            self._look.clear()
            with contextlib.suppress(BackendError):
                counter, deleted, keys = await self._changes(after if after >= 0 else 2**62)
                self._wake(keys if deleted == deletions else list(self._events))
                after, deletions = counter, deleted
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._look.wait()
