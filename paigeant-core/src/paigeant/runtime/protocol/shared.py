"""Shared mode: the transport is the store. One settle commits, publishes and acknowledges, or does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import LeaseLost, OutcomeUnknown, RevisionConflict
from ...model.store import Write
from ...state.cursor import Cursor
from ...state.decision import Action, decide
from ...state.transitions import MAX_CRASHES, Move
from ..claim import Claim, nonce
from ..moving import landed, publication
from ..patience import patiently
from .stored import StoredProtocol

if TYPE_CHECKING:
    from ...model.message import Publication


class SharedProtocol(StoredProtocol):
    """The broker's lease is the only lease; a read of the cursor replaces the claim."""

    async def _own(self, action: Action, claim: Claim) -> Claim | None:
        if action is Action.RESEND:
            # A duplicate of a done hop: its successor was published with the commit.
            await self._settle(claim.delivery)
            return None
        claim.poisoned = (claim.delivery.deliveries or 1) > MAX_CRASHES
        return claim

    async def release(self, claim: Claim) -> None:
        # By copy, so that a shutdown is not counted as a crash of the activity.
        cursor = claim.cursor.next(out=claim.delivery.message.body)
        await self._make(claim, self._rules.release(cursor, self._env.now()))

    async def _make(self, claim: Claim, move: Move, writes: tuple[Write, ...] = ()) -> None:
        cursor = move.cursor if move.cursor.outcome else move.cursor.next(nonce=nonce())
        successors = () if move.send is None else (publication(claim.keys, cursor, move.send),)
        while True:
            write = Write(claim.keys.cursor, cursor.encode(), claim.revision, move.due, move.ttl)
            try:
                return await patiently(
                    self._settle_once, self._env.clock, "committing a hop", claim, cursor, successors, (write, *writes)
                )
            except RevisionConflict:
                if not await self._still_mine(claim, cursor):
                    return await self._settle(claim.delivery)

    async def _settle_once(
        self, claim: Claim, cursor: Cursor, successors: tuple[Publication, ...], writes: tuple[Write, ...]
    ) -> None:
        try:
            await claim.delivery.settle(*successors, writes=writes)
        except (OutcomeUnknown, LeaseLost, RevisionConflict):
            if not await landed(self._store, claim.keys, cursor):
                raise

    async def _still_mine(self, claim: Claim, wanted: Cursor) -> bool:
        """Whether to try again after a refusal: the hop still stands where this claim found it, or is done by it.

        Of copies of one message that run at once, the first to retry, park or give back has moved the hop on;
        a second such move would undo it.
        """
        entry = await patiently(self._store.get, self._env.clock, "reading a cursor", claim.keys.cursor)
        if entry is None:
            return False
        claim.revision = entry.revision
        found = Cursor.decode(entry.value)
        if wanted.seq == claim.seq and found.nonce != claim.cursor.nonce:
            return False
        return decide(found, claim.seq, claim.opened.heads, self._env.now(), self._rules.held).action is Action.RUN
