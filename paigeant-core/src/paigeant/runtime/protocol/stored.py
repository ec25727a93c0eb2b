"""What shared and separate mode have in common: the cursor decides."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from ...envelope.sealing import content_digest
from ...errors import ForkDetected, RevisionConflict
from ...model.store import ABSENT, Entry, Expected, Write
from ...state.cursor import Cursor, State
from ...state.decision import Action, decide
from ...state.transitions import Move
from ..claim import Claim, nonce
from ..lifetime import lifetime
from ..moving import end_expired, expiry, parked_note
from ..patience import patiently
from .base import Commit, HopProtocol

if TYPE_CHECKING:
    from ...abc import Delivery, StateStore
    from ...envelope.opening import Opened
    from ...model.message import Publication
    from ...state.ids import BranchKeys
    from ..environment import Environment


class StoredProtocol(HopProtocol):
    """Claims by the cursor, and the moves that both stored modes make."""

    def __init__(self, env: Environment, store: StateStore) -> None:
        self._env, self._store, self._rules = env, store, env.rules

    async def claim(self, delivery: Delivery, opened: Opened, keys: BranchKeys, *, wait: float = 0.0) -> Claim | None:
        while True:
            entry = await patiently(self._store.get, self._env.clock, "reading a cursor", keys.cursor)
            cursor = Cursor.decode(entry.value) if entry else None
            decision = decide(cursor, opened.slip.seq, opened.heads, self._env.now(), self._rules.held)
            if decision.action is Action.FORK:
                raise ForkDetected(f"hop {opened.slip.seq} does not continue the committed history of this workflow")
            if decision.action is Action.DROP:
                await self._settle(delivery)
                return None
            if decision.action is Action.EARLY:
                await self._put_back(delivery, decision.delay)
                return None
            try:
                claim = await self._found(decision.action, delivery, opened, keys, entry, cursor)
                if not wait or decision.action is Action.RESEND:
                    return await self._own(decision.action, claim)
                await self._leave(claim, wait)
                return None
            except RevisionConflict:
                continue  # A refused claim decides again from the table.

    async def _found(
        self,
        action: Action,
        delivery: Delivery,
        opened: Opened,
        keys: BranchKeys,
        entry: Entry | None,
        cursor: Cursor | None,
    ) -> Claim:
        if action is Action.ADOPT or cursor is None or entry is None:
            cursor, revision = await self._adopt(delivery, opened, keys, entry, cursor)
        else:
            revision = entry.revision
        claim = Claim(delivery, opened, keys, cursor, revision)
        claim.again = cursor.gen > 0 or (delivery.deliveries or 1) > 1
        return claim

    async def _adopt(
        self, delivery: Delivery, opened: Opened, keys: BranchKeys, entry: Entry | None, cursor: Cursor | None
    ) -> tuple[Cursor, int]:
        origin = opened.slip.origin
        known = cursor or Cursor(content=content_digest(origin)[:22], exp=origin.exp)
        move = self._rules.adopt(
            known, seq=opened.slip.seq, head=opened.head, queue=delivery.queue, body=opened.body, now=self._env.now()
        )
        expected: Expected = entry.revision if entry else ABSENT
        return move.cursor, await self._store.put(keys.cursor, move.cursor.encode(), expected=expected, due=move.due)

    @abstractmethod
    async def _own(self, action: Action, claim: Claim) -> Claim | None:
        """Take ownership, or do what else the action calls for."""

    async def _leave(self, claim: Claim, wait: float) -> None:
        """Put the message back for a worker that may run it."""
        await self._put_back(claim.delivery, wait)

    @abstractmethod
    async def _make(self, claim: Claim, move: Move, writes: tuple[Write, ...] = ()) -> None:
        """Carry out a move of a claimed cursor, together with ``writes``."""

    async def _settle(self, delivery: Delivery, *successors: Publication) -> None:
        await patiently(lambda: delivery.settle(*successors), self._env.clock, "settling a delivery")

    async def _put_back(self, delivery: Delivery, delay: float) -> None:
        await self._settle(delivery, await self._env.later(delivery.queue, delivery.message, delay))

    async def commit(self, claim: Claim, commit: Commit) -> None:
        slip = commit.opened.slip
        if slip.next is None:
            ttl = lifetime(self._env, slip.origin.exp)
            mark = nonce()
            move = self._rules.end(claim.cursor, seq=slip.seq, outcome=str(slip.status), nonce=mark, ttl=ttl)
            result = Write(claim.keys.result(mark), commit.opened.body, ttl=ttl)
            return await self._make(claim, move, (*commit.writes, result))
        move = self._rules.forward(
            claim.cursor,
            seq=slip.seq,
            head=commit.opened.head,
            queue=slip.next.step.q,
            body=commit.opened.body,
            now=self._env.now(),
        )
        return await self._make(claim, move, commit.writes)

    async def retry(self, claim: Claim, delay: float, *, counted: bool) -> None:
        now = self._env.now()
        move = self._rules.retry(claim.cursor, delay=delay, counted=counted, body=claim.opened.body, now=now)
        await self._make(claim, move)

    async def park(self, claim: Claim, reason: str) -> None:
        move = self._rules.park(claim.cursor, reason=reason, body=claim.opened.body)
        note = parked_note(self._env, claim.keys, move.cursor, claim.correlation_id)
        await self._make(claim, move, (note,))

    async def lapse(self, claim: Claim) -> None:
        move, writes = expiry(self._env, claim.keys, claim.cursor, claim.opened.body)
        await self._make(claim, move, writes)

    async def expire(self, delivery: Delivery, opened: Opened, keys: BranchKeys) -> bool | None:
        entry = await self._store.get(keys.cursor)
        cursor = Cursor.decode(entry.value) if entry else None
        if entry is None or cursor is None or cursor.state is State.ENDED:
            return False
        if decide(cursor, opened.slip.seq, opened.heads, self._env.now(), self._rules.held).action is Action.FORK:
            return False
        if opened.slip.seq < cursor.seq:
            await self._settle(delivery)  # An old copy: the current message, or the sweeper, ends the workflow.
            return None
        await end_expired(self._env, self._store, keys, cursor, entry.revision, opened.body)
        await self._settle(delivery)
        return True
