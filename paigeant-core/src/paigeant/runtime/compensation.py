"""Data registered for compensation: durable before the effect (rule C2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import PermanentFault, RevisionConflict, StoreRequired
from ..model.store import ABSENT, Expected
from ..routing.itinerary import carry
from .binding import plain
from .lifetime import lifetime
from .patience import patiently
from .values import Outbox

if TYPE_CHECKING:
    from ..abc import StateStore
    from ..model.records import ValueRef
    from .activity import Activity
    from .claim import Claim
    from .environment import Environment


class Compensations:
    """What one step registered, over all its attempts; each attempt adds, none takes away."""

    def __init__(self, env: Environment, claim: Claim, activity: Activity[..., Any]) -> None:
        self._env, self._claim, self._activity = env, claim, activity
        self._known: list[dict[str, Any]] = []
        self._revision: Expected = ABSENT
        self._stale = True
        self._closed = False

    @property
    def _key(self) -> str:
        return self._claim.keys.compensation(self._claim.seq)

    async def register(self, data: dict[str, Any]) -> None:
        """Store ``data``; the same data again (a retry) is one registration.

        :raises PermanentFault: the attempt is over: what is registered now would never be undone.
        """
        self._check_open()
        activity = self._activity
        if self._env.store is None:
            raise StoreRequired(
                f"activity {activity.name!r} registers a compensation, which must be durable before its effect: "
                "configure a state store (PAIGEANT_STATE_STORE)"
            )
        if activity.handler_signature is None:
            raise PermanentFault(
                f"activity {activity.name!r} has no handler; add one with @{activity.__name__}.compensate"
            )
        data = carry(data, self._carried, self._what, f"of the compensation of activity {activity.name!r}")
        activity.handler_signature.bind(data)
        if not self._claim.again:
            self._stale = False  # Most likely the first attempt; the compare-and-set tells.
        while data not in await self._read(self._env.store):
            try:
                await self._write(self._env.store, [*self._known, data])
            except RevisionConflict:
                self._stale = True  # An earlier attempt that we did not know of: read it, then add.
        self._check_open()

    @property
    def _what(self) -> str:
        return f"compensation data of activity {self._activity.name!r}"

    def _carried(self, value: object, what: str) -> Any:
        """``value``, plain. What no codec can carry is refused before the effect, not after it."""
        made = plain(value, what)
        Outbox(self._env).add(made, what)
        return made

    def close(self) -> None:
        """The attempt is over; a thread of it that goes on must not have its effect any more."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise PermanentFault(f"this attempt of activity {self._activity.name!r} is over; do not go on")

    async def collect(self, outbox: Outbox) -> ValueRef | None:
        """The reference of all that is registered, for the record of the step; ``None`` if nothing is."""
        self.close()
        if self._env.store is None or self._activity.handler is None:
            return None
        known = await self._read(self._env.store)
        return outbox.add(known, self._what) if known else None

    async def _read(self, store: StateStore) -> list[dict[str, Any]]:
        if self._stale:
            entry = await patiently(lambda: store.get(self._key), self._env.clock, "reading compensation data")
            self._known = json.loads(entry.value) if entry else []
            self._revision = entry.revision if entry else ABSENT
            self._stale = False
        return self._known

    async def _write(self, store: StateStore, known: list[dict[str, Any]]) -> None:
        value = json.dumps(known, ensure_ascii=False).encode()
        ttl = lifetime(self._env, self._claim.opened.slip.origin.exp)
        expected = self._revision
        self._revision = await patiently(
            lambda: store.put(self._key, value, expected=expected, ttl=ttl),
            self._env.clock,
            "registering a compensation",
        )
        self._known = known
