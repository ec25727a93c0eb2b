"""Separate mode: claim in the store, settle the broker message at once, run under the store's lease.

No broker time-out, prefetch limit or stale acknowledgement takes part in correctness, and the workflow
survives even the loss of the broker's data.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from ...errors import BackendError, LeaseLost, RevisionConflict
from ...model.store import KEEP, Write
from ...state.cursor import Cursor, State
from ...state.decision import Action
from ...state.transitions import Move, Outgoing
from ..claim import Claim, nonce
from ..moving import make_move, send
from ..patience import patiently
from .base import give_back
from .stored import StoredProtocol

if TYPE_CHECKING:
    from ...abc import StateStore
    from ..environment import Environment

log = logging.getLogger("paigeant.runtime")


class SeparateProtocol(StoredProtocol):
    """Every transition is one compare-and-set with a due; the message follows it."""

    def __init__(self, env: Environment, store: StateStore, lease: float) -> None:
        super().__init__(env, store)
        self._lease = lease

    async def _own(self, action: Action, claim: Claim) -> Claim | None:
        if action is Action.RESEND:
            move = self._rules.resend(claim.cursor, self._env.now())
            await make_move(self._env, self._store, claim.keys, move, claim.revision)
            await self._acknowledge(claim)
            return None
        owner = nonce()
        move = self._rules.claim(claim.cursor, owner=owner, lease=self._lease, now=self._env.now())
        # A cursor written in shared mode has no copy of the envelope; from now on this one is the only one.
        claim.cursor = move.cursor.next(nonce=owner, out=move.cursor.out or claim.opened.body)
        claim.expires = time.monotonic() + self._lease
        try:
            claim.revision = await self._swap(claim, move)
            await self._acknowledge(claim)
        except asyncio.CancelledError:
            await give_back(self._unclaim(claim, move), self._env.clock)
            raise
        return claim

    async def _leave(self, claim: Claim, wait: float) -> None:
        """The sweeper need not send what was just at hand: that copy would be put back as well, and the next."""
        due = self._rules.unsent(claim.cursor, self._env.now(), wait)
        await patiently(
            lambda: self._store.put(claim.keys.cursor, KEEP, expected=claim.revision, due=due),
            self._env.clock,
            "putting off a hop",
        )
        await super()._leave(claim, wait)

    async def _unclaim(self, claim: Claim, move: Move) -> None:
        """Nothing has run, so nobody may take it for a crash. Whether the claim landed, only repeating it can tell."""
        claim.revision = await self._swap(claim, move)
        await self.release(claim)

    async def _swap(self, claim: Claim, move: Move) -> int:
        """The claiming compare-and-set; a lost answer is settled by reading the owner back."""

        async def put() -> int:
            try:
                return await self._store.put(
                    claim.keys.cursor, claim.cursor.encode(), expected=claim.revision, due=move.due
                )
            except RevisionConflict:
                entry = await self._store.get(claim.keys.cursor)
                if entry is not None and Cursor.decode(entry.value).owner == claim.cursor.owner:
                    return entry.revision
                raise

        return await patiently(put, self._env.clock, "claiming a hop")

    async def release(self, claim: Claim) -> None:
        if claim.ending is not None:  # Whether that landed and was sent, only repeating it can tell.
            return await self._carry_out(claim, claim.ending)
        return await self._make(claim, self._rules.release(claim.cursor, self._env.now()))

    async def let_go(self, claim: Claim, delay: float) -> None:
        # The delivery is settled: what is let go is the lease. The sweeper takes the hop over when that ends.
        due = self._env.now() + delay
        await self._store.put(claim.keys.cursor, KEEP, expected=claim.revision, due=due)

    async def _make(self, claim: Claim, move: Move, writes: tuple[Write, ...] = ()) -> None:
        for write in writes:
            await self._put(write)
        cursor = move.cursor.next(nonce=move.cursor.nonce if move.cursor.outcome else nonce())
        claim.ending = Move(cursor, move.due, move.ttl, move.send)
        await self._carry_out(claim, claim.ending)

    async def _carry_out(self, claim: Claim, move: Move) -> None:
        await self._compare_and_set(claim, move)
        if move.send is not None:
            await self._publish(claim, move.cursor, move.send)

    async def _put(self, write: Write) -> None:
        await patiently(
            lambda: self._store.put(write.key, write.value, due=write.due, ttl=write.ttl), self._env.clock, "writing"
        )

    async def _compare_and_set(self, claim: Claim, move: Move) -> None:
        data = move.cursor.encode()

        async def put() -> bool:
            try:
                await self._store.put(claim.keys.cursor, data, expected=claim.revision, due=move.due, ttl=move.ttl)
            except RevisionConflict:
                return await self._landed_or_lost(claim, move.cursor)
            return True

        while not await patiently(put, self._env.clock, "committing a hop"):
            pass

    async def _landed_or_lost(self, claim: Claim, cursor: Cursor) -> bool:
        """After a refusal: ours landed, or the owner is still this claim (try again), or it is lost."""
        entry = await self._store.get(claim.keys.cursor)
        found = Cursor.decode(entry.value) if entry else None
        if found is not None and found.nonce == cursor.nonce:
            return True
        if entry is None or found is None or found.state is not State.RUNNING or found.owner != claim.cursor.owner:
            raise LeaseLost(f"hop {claim.seq} of workflow {claim.correlation_id!r} is owned by another worker")
        claim.revision = entry.revision
        return False

    async def _publish(self, claim: Claim, cursor: Cursor, outgoing: Outgoing) -> None:
        await send(self._env, self._store, claim.keys, cursor, outgoing)

    async def _acknowledge(self, claim: Claim) -> None:
        try:
            await claim.delivery.settle()
        except BackendError as exc:
            log.info("a claimed delivery could not be settled (%s); its duplicate will be dropped", exc)
