"""Data registered for compensation: durable before the effect (rule C2), and signed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..envelope.registered import open_registered, seal_registered
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
        self._mutex = asyncio.Lock()
        """Signing and verifying take their time: of two that register at once, neither must overwrite the other."""

    @property
    def _key(self) -> str:
        return self._claim.keys.compensation(self._claim.seq)

    async def register(self, data: dict[str, Any]) -> None:
        """Store ``data``; the same data again (a retry) is one registration.

        :raises StoreRequired: there is no store to keep it.
        :raises PermanentFault: the attempt is over: what is registered now would never be undone; or nothing can undo
            it, as the activity has no handler.
        :raises SecurityError: what an earlier attempt stored must not be trusted.
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
        async with self._mutex:
            await self._add(self._env.store, data)
        self._check_open()

    async def _add(self, store: StateStore, data: dict[str, Any]) -> None:
        if not self._claim.again:
            self._stale = False  # Most likely the first attempt; the compare-and-set tells.
        while data not in await self._read(store):
            try:
                await self._write(store, [*self._known, data])
            except RevisionConflict:
                self._stale = True  # An earlier attempt that we did not know of: read it, then add.

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
        """The reference of all that is registered, for the record of the step; ``None`` if nothing is.

        :raises SecurityError: what is stored must not be trusted.
        """
        self.close()
        if self._env.store is None or self._activity.handler is None:
            return None
        async with self._mutex:  # what a thread of the attempt still registers is undone, too
            known = await self._read(self._env.store)
        return outbox.add(known, self._what) if known else None

    async def _read(self, store: StateStore) -> list[dict[str, Any]]:
        if self._stale:
            entry = await patiently(lambda: store.get(self._key), self._env.clock, "reading compensation data")
            self._known = await self._opened(entry.value) if entry else []
            self._revision = entry.revision if entry else ABSENT
            self._stale = False
        return self._known

    async def _opened(self, stored: bytes) -> list[dict[str, Any]]:
        env, claim = self._env, self._claim
        what = "verifying compensation data"
        branch = claim.keys.branch
        ref, data = await patiently(open_registered, env.clock, what, stored, claim.opened, branch, env.security)
        known: list[dict[str, Any]] = env.codecs.decode(ref, data)
        return known

    async def _sealed(self, known: list[dict[str, Any]]) -> bytes:
        env, claim = self._env, self._claim
        ref, data = env.codecs.encode(known)
        return await patiently(
            lambda: seal_registered(claim.opened, claim.keys.branch, ref, data, env.security, now=env.now()),
            env.clock,
            "signing compensation data",
        )

    async def _write(self, store: StateStore, known: list[dict[str, Any]]) -> None:
        value = await self._sealed(known)
        ttl = lifetime(self._env, self._claim.opened.slip.origin.exp)
        expected = self._revision
        self._revision = await patiently(
            lambda: store.put(self._key, value, expected=expected, ttl=ttl),
            self._env.clock,
            "registering a compensation",
        )
        self._known = known
