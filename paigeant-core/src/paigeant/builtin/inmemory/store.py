"""The in-memory state store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from math import inf
from typing import TYPE_CHECKING, ClassVar, Literal

from ...abc.clock import Clock, SystemClock
from ...abc.store import StateStore
from ...errors import BackendClosed
from ...model.capabilities import Capabilities
from ...model.finding import Finding
from ...model.store import ANY, KEEP, Entry, Expected, Keep, check_key
from .bell import Bell
from .broker import Broker, Membership
from .diagnosis import diagnose

if TYPE_CHECKING:
    from ...abc.transport import Scope

DEFAULT_URL = "inmemory://default"
_CAPABILITIES = Capabilities()


class InMemoryStore(StateStore):
    """Entries of the process-wide broker of ``url`` and ``namespace``.

    :param url: names the broker.
    :param namespace: of one URL, each has a broker of its own.
    :param clock: used if this instance is the broker's first.
    :param of: the membership of the transport whose store this is; it then follows that transport.
    """

    scope: ClassVar[Scope] = "process"

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        namespace: str = "default",
        clock: Clock | None = None,
        of: Membership | None = None,
    ) -> None:
        self._follows = of is not None  # a transport, which then connects and disconnects it
        self._membership = of or Membership(url, namespace, clock or SystemClock())
        self.namespace = self._membership.namespace

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    async def connect(self) -> None:
        if not self._follows:
            self._membership.join()

    async def disconnect(self) -> None:
        if not self._follows:
            self._membership.leave()

    def clone(self) -> InMemoryStore:
        member = self._membership
        return InMemoryStore(member.url, namespace=member.namespace, clock=member.clock)

    async def now(self) -> float:
        return self._broker.clock.time()

    async def get(self, key: str) -> Entry | None:
        broker = self._broker
        check_key(key)
        with broker.lock:
            return broker.entries.get(key)

    async def put(
        self,
        key: str,
        value: bytes | Literal[Keep.KEEP],
        *,
        expected: Expected = ANY,
        due: float | None = None,
        ttl: float | None = None,
    ) -> int:
        broker = self._broker
        check_key(key)
        with broker.lock:
            broker.entries.check(key, expected, keep=value is KEEP)
            revision = broker.entries.put(key, value, due, ttl)
            broker.changed([key])
        return revision

    async def delete(self, key: str, *, expected: Expected = ANY) -> None:
        broker = self._broker
        check_key(key)
        with broker.lock:
            broker.entries.check(key, expected)
            broker.entries.delete(key)
            broker.changed([key])

    async def scan(self, prefix: str, *, after: str = "", limit: int = 100) -> list[Entry]:
        broker = self._broker
        with broker.lock:
            return broker.entries.scan(prefix, after, limit)

    async def due(self, before: float, limit: int = 100) -> list[str]:
        broker = self._broker
        with broker.lock:
            return broker.entries.due(before, limit)

    async def watch(self, key: str) -> AsyncGenerator[Entry | None, None]:
        broker, bell = self._broker, Bell()
        check_key(key)
        with broker.lock:
            broker.watchers.setdefault(key, []).append(bell)
        try:
            first, seen = True, None
            while True:
                bell.mute()
                entry, delay = self._look(key)
                if first or entry != seen:
                    first, seen = False, entry
                    yield entry
                else:
                    await bell.wait(broker.clock, delay)
        finally:
            _stop_watching(broker, key, bell)

    async def diagnose(self) -> list[Finding]:
        _ = self._broker
        return diagnose()

    def _look(self, key: str) -> tuple[Entry | None, float | None]:
        """The entry, and the seconds until it may expire (``None``: never)."""
        broker = self._broker
        with broker.lock:
            entry, end = broker.entries.get(key), broker.entries.end(key)
        return entry, None if end == inf else max(0.0, end - broker.clock.monotonic())

    @property
    def _broker(self) -> Broker:
        broker = self._membership.broker
        if broker is None:
            raise BackendClosed("the in-memory store is not connected: call connect(), or use it with 'async with'")
        return broker


def _stop_watching(broker: Broker, key: str, bell: Bell) -> None:
    with broker.lock:
        broker.watchers[key].remove(bell)
        if not broker.watchers[key]:
            del broker.watchers[key]
