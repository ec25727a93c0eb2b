"""The state-store contract: a versioned key-value store with a due-time index."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from ..model.capabilities import Capabilities
from ..model.finding import Finding
from ..model.store import ANY, Entry, Expected, Keep

if TYPE_CHECKING:
    from types import TracebackType

    from .transport import Scope


class StateStore(ABC):
    """Entries ``key -> (value, revision, due)``.

    * **S01** ``connect``/``disconnect`` are idempotent; before and after, other methods raise
      ``BackendClosed``. A store handed out by ``Transport.state_store()`` follows its transport.
    * **S02** Errors of the client library become ``BackendError`` (T03). Cancellation is safe: the call
      may have taken effect, entirely or not at all.
    * **S03** Keys are segments ``[A-Za-z0-9_-]{1,64}`` joined by ``/``; others raise
      ``ConfigurationError``. Every backend key carries the namespace.
    """

    scope: ClassVar[Scope] = "network"
    """Who sees its entries: see ``Transport.scope``. A store of one process serves a transport of one process only."""

    namespace: str = "default"

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """``durable`` and ``max_message`` (largest value) apply to stores."""

    @abstractmethod
    async def connect(self) -> None:
        """Open it (see ``Transport.connect``)."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close it."""

    @abstractmethod
    def clone(self) -> StateStore:
        """A new, unconnected instance on the same data with the same settings."""

    @abstractmethod
    async def now(self) -> float:
        """**S10** The store's clock, seconds since the epoch. All leases and timers use only this one.

        Called often: if it takes a round trip, make one now and then, and count on by the monotonic clock.
        """

    @abstractmethod
    async def get(self, key: str) -> Entry | None:
        """**S11** The entry as of the last completed write (of any process), or ``None``.

        What another program put in its place raises ``BackendCorrupt``.
        """

    @abstractmethod
    async def put(
        self,
        key: str,
        value: bytes | Literal[Keep.KEEP],
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        """Write an entry; return its new revision.

        * **S12** Durable (if the store is) when it returns.
        * **S13** ``expected`` is a revision, ``ABSENT`` or ``ANY``; otherwise ``RevisionConflict`` and no
          change. Of concurrent writers that expect the same, exactly one succeeds.
        * **S14** Revisions of a key rise and are never reused, not even after ``delete``.
        * **S15** ``KEEP`` keeps the value and sets ``due`` and ``ttl``; on a missing key it raises
          ``RevisionConflict``. It too makes a new revision.
        * **S16** ``due`` and ``ttl`` are set by every put: ``None`` removes them. An entry lives at least
          ``ttl`` seconds, then it is treated as absent, sooner or later.
        """

    @abstractmethod
    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        """**S17** Remove an entry; a missing one is fine unless ``expected`` is a revision."""

    @abstractmethod
    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        """**S18** Entries whose key starts with ``prefix`` and is greater than ``after``, in key order.

        What another program put among them is left out with a warning: one such value must not hide the rest.
        """

    @abstractmethod
    async def due(self, before: float, limit: int = 100) -> list[str]:
        """**S19** Keys with ``due <= before``, about the earliest first.

        Hints: a key may be stale or early, none is missing; callers read it again.
        """

    async def watch(self, key: str) -> AsyncGenerator[Entry | None, None]:
        """**S20** The entry now, then again after each change (changes may be merged, never missed).

        This default polls; a store with notifications serves all watchers of a process with one
        subscription. Close the iterator (``aclosing``) to stop. An outage may end it with
        ``BackendUnavailable``: whoever still wants to know watches anew.
        """
        seen: Entry | None = None
        pause = 0.005
        first = True
        while True:
            entry = await self.get(key)
            if first or entry != seen:
                first, seen, pause = False, entry, 0.005
                yield entry
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.25)

    async def diagnose(self) -> list[Finding]:
        """See ``Transport.diagnose``: what an operator should know of this store. Default: nothing."""
        return []

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.disconnect()
