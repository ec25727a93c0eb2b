"""The sweeper: leaderless, in every worker; looks after cursors whose time has come."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from ..envelope.frame import CONTENT_TYPE
from ..envelope.opening import open_envelope
from ..errors import BackendCorrupt, BackendError, RevisionConflict, SecurityError
from ..model.events import WorkflowEnded, WorkflowParked
from ..model.message import Message
from ..model.store import KEEP, Entry, Write
from ..state.cursor import Cursor, State
from ..state.ids import BranchKeys
from ..state.transitions import MAX_SENDS, Move, backoff
from .claim import nonce
from .lifetime import lifetime
from .moving import make_move
from .notifier import event_id
from .protocol.stored import parked_note
from .telling import ended_id

if TYPE_CHECKING:
    from ..abc import StateStore
    from .environment import Environment

log = logging.getLogger("paigeant.runtime")


class Sweeper:
    """Sends lost messages again, takes over expired claims, ends waits and expired workflows.

    :param interval: seconds between looks.
    :param limit: most cursors handled per look; it picks at random among four times as many, so that
        many workers disturb each other little and entries nobody can process do not starve the rest.
    """

    def __init__(self, env: Environment, store: StateStore, *, interval: float = 1.0, limit: int = 64) -> None:
        self._env, self._store, self._interval, self._limit = env, store, interval, limit

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except BackendError as exc:
                log.warning("the sweeper could not look: %s", exc)
            except Exception:  # no store may, and a slip of one must not end what heals all others
                log.exception("the sweeper failed; it goes on")
            await self._env.clock.sleep(self._interval * (0.75 + random.random() / 2))

    async def sweep(self) -> int:
        """One look; returns how many cursors were moved."""
        keys = await self._store.due(self._env.now(), self._limit * 4)
        moved = 0
        for key in random.sample(keys, min(self._limit, len(keys))):
            branch = BranchKeys.from_cursor_key(key)
            if branch is not None:
                moved += await self._look_after(branch)
        return moved

    async def _look_after(self, keys: BranchKeys) -> bool:
        try:
            entry = await self._store.get(keys.cursor)
        except BackendCorrupt as exc:
            log.warning("cursor %s cannot be looked after: %s", keys.cursor, exc)
            return False
        if entry is None or entry.due is None or entry.due > self._env.now():
            return False
        try:
            cursor = Cursor.decode(entry.value)
            move, writes = await self._move(keys, entry, cursor)
            if move is None:
                return False
            await make_move(self._env, self._store, keys, move, entry.revision, writes)
        except RevisionConflict:
            return False
        except BackendError as exc:
            log.warning("cursor %s cannot be looked after: %s", keys.cursor, exc)
            await self._postpone(keys, entry, backoff(1))
            return False
        return True

    async def _move(self, keys: BranchKeys, entry: Entry, cursor: Cursor) -> tuple[Move | None, tuple[Write, ...]]:
        now, rules = self._env.now(), self._env.rules
        if cursor.state is State.RUNNING:
            log.warning("the worker of hop %d of %s is gone; taking it over", cursor.seq, keys.cursor)
            return await self._taken_over(keys, cursor)
        if cursor.state is State.WAITING and cursor.parked:
            return await self._expired(keys, cursor)
        if cursor.state is State.WAITING:
            return rules.resume(cursor, now), ()
        if cursor.state is State.READY and cursor.out and self._env.mode == "separate":
            if await self._held_back(cursor):
                await self._postpone(keys, entry, backoff(cursor.sends), cursor.next(sends=cursor.sends + 1))
                return None, ()
            return rules.resend(cursor, now), ()
        await self._postpone(keys, entry, None)
        return None, ()

    async def _taken_over(self, keys: BranchKeys, cursor: Cursor) -> tuple[Move, tuple[Write, ...]]:
        move = self._env.rules.take_over(cursor, self._env.now())
        if not move.cursor.parked:
            return move, ()
        workflow = await self._workflow(cursor)
        event = event_id(keys.hop_id(cursor.seq), WorkflowParked, cursor.gen)
        await self._env.notifier.tell(WorkflowParked(event, workflow, self._env.now(), move.cursor.parked))
        return move, (Write(keys.parked, parked_note(move.cursor.parked, workflow, cursor.queue)),)

    async def _workflow(self, cursor: Cursor) -> str:
        """The correlation id, from the signed envelope: keys hold only its hash."""
        message = Message("", cursor.out, {"content-type": CONTENT_TYPE})
        try:
            opened = await open_envelope(
                message, self._env.security, now=self._env.now(), limit=self._env.max_body, allow_expired=True
            )
        except SecurityError as exc:
            log.warning("the envelope kept for a parked workflow cannot be read: %s", exc)
            return ""
        return opened.slip.origin.wf

    async def _expired(self, keys: BranchKeys, cursor: Cursor) -> tuple[Move, tuple[Write, ...]]:
        """A parked workflow that nobody resumed before it expired."""
        if self._env.notifier:
            event = ended_id(keys.hop_id(cursor.seq), "expired")
            workflow = await self._workflow(cursor)
            await self._env.notifier.tell(WorkflowEnded(event, workflow, self._env.now(), "expired"))
        ttl = lifetime(self._env, cursor.exp) + self._env.settings.workflow_ttl
        mark = nonce()
        move = self._env.rules.end(cursor, seq=cursor.seq, outcome="expired", nonce=mark, ttl=ttl)
        return move, (Write(keys.result(mark), cursor.out, ttl=ttl),)

    async def _held_back(self, cursor: Cursor) -> bool:
        """A healthy backlog must not be amplified: not while work is ready there, but not for ever."""
        if cursor.sends == 0 or cursor.sends % (MAX_SENDS + 1) == 0:
            return False
        stats = await self._env.transport.queues(cursor.queue)
        return stats[cursor.queue].ready > 0

    async def _postpone(
        self, keys: BranchKeys, entry: Entry, delay: float | None, cursor: Cursor | None = None
    ) -> None:
        due = None if delay is None else self._env.now() + delay
        value = KEEP if cursor is None else cursor.encode()
        try:
            await self._store.put(keys.cursor, value, expected=entry.revision, due=due)
        except RevisionConflict:
            return
