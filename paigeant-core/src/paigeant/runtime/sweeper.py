"""The sweeper: leaderless, in every worker; looks after cursors whose time has come."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from ..envelope.frame import HEADERS
from ..envelope.opening import open_envelope
from ..errors import (
    BackendError,
    ConfigurationError,
    MessageTooLarge,
    RevisionConflict,
    SecurityError,
    SignerUnavailable,
)
from ..model.events import WorkflowEnded
from ..model.message import Message
from ..model.store import KEEP, Entry
from ..state.cursor import Cursor, State
from ..state.ids import BranchKeys
from ..state.transitions import EXPIRY_MARGIN, HELD_BACK, Move, until_next_look
from .moving import end_expired, make_move, park, too_large, workflow_of
from .reception import destined
from .telling import ended_id

if TYPE_CHECKING:
    from ..abc import StateStore
    from .environment import Environment

log = logging.getLogger("paigeant.runtime")

ROUNDS = 16
"""Most times in one sweep that the next of those that are due are picked."""
MOST_STRANGERS = 10_000
"""Most due entries that are no cursors behind which a sweep looks."""


class Sweeper:
    """Sends lost messages again, takes over expired claims, ends waits and expired workflows.

    :param interval: seconds between looks.
    :param limit: most cursors handled at once; it picks at random among four times as many, so that
        many workers disturb each other little and entries nobody can process do not starve the rest. Also the
        most messages verified and sent again per interval: a healthy backlog must not be amplified.
    """

    def __init__(self, env: Environment, store: StateStore, *, interval: float = 1.0, limit: int = 64) -> None:
        self._env, self._store, self._interval, self._limit = env, store, interval, limit
        self._resends, self._strangers = limit, 0
        self._ready: dict[str, asyncio.Task[int]] = {}

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
        """Look until nothing more is due, or nothing due can be dealt with now; returns how many cursors were moved
        or put off. Puts the clock of all that the worker does right."""
        await self._env.read_clock()
        self._resends = self._limit
        self._ready.clear()
        total = 0
        for _ in range(ROUNDS):
            branches = await self._due()
            picked = random.sample(branches, min(self._limit, len(branches)))
            done = sum(await asyncio.gather(*map(self._look_after, picked)))
            total += done
            if not done or len(branches) <= self._limit:
                break
        return total

    async def _due(self) -> list[BranchKeys]:
        """What is due and no cursor belongs to somebody else: it stays, and must not hide the cursors behind it."""
        keys = await self._store.due(self._env.now(), self._limit * 4 + self._strangers)
        branches = [branch for branch in map(BranchKeys.from_cursor_key, keys) if branch is not None]
        seen, self._strangers = self._strangers, min(len(keys) - len(branches), MOST_STRANGERS)
        if self._strangers and not seen:
            stranger = next(key for key in keys if BranchKeys.from_cursor_key(key) is None)
            log.warning("the state store has entries that are due and none of Paigeant's, such as %r", stranger)
        return branches

    async def _look_after(self, keys: BranchKeys) -> bool:
        """Whether the cursor was moved or put off. Raises nothing, for the others are not to suffer."""
        entry = None
        try:
            entry = await self._store.get(keys.cursor)
            if entry is None or entry.due is None or entry.due > self._env.now():
                return False
            return await self._act(keys, entry, Cursor.decode(entry.value))
        except RevisionConflict:
            return False
        except (BackendError, SignerUnavailable) as exc:
            log.warning("cursor %s cannot be looked after: %s", keys.cursor, exc)
        except Exception:
            log.exception("cursor %s cannot be looked after", keys.cursor)
        return entry is not None and await self._postpone(keys, entry, self._env.now() + until_next_look())

    async def _act(self, keys: BranchKeys, entry: Entry, cursor: Cursor) -> bool:
        now, rules = self._env.now(), self._env.rules
        if cursor.state is not State.ENDED and 0 < cursor.exp <= now:
            await self._expire(keys, entry, cursor)
            return True
        if cursor.state is State.RUNNING:
            log.warning("the worker of hop %d of %s is gone; taking it over", cursor.seq, keys.cursor)
            return await self._make(keys, entry, rules.take_over(cursor, now))
        if cursor.state is State.WAITING and not cursor.parked:
            return await self._make(keys, entry, rules.resume(cursor, now))
        if cursor.state is State.READY and cursor.out and self._env.mode == "separate":
            return await self._send_again(keys, entry, cursor)
        return await self._postpone(keys, entry, cursor.exp + EXPIRY_MARGIN if cursor.exp else None)

    async def _make(self, keys: BranchKeys, entry: Entry, move: Move) -> bool:
        if not move.cursor.parked:
            try:
                await make_move(self._env, self._store, keys, move, entry.revision)
                return True
            except MessageTooLarge as exc:
                move = too_large(self._env, Cursor.decode(entry.value), exc)
        await park(self._env, self._store, keys, move, entry.revision)
        return True

    async def _send_again(self, keys: BranchKeys, entry: Entry, cursor: Cursor) -> bool:
        """A healthy backlog must not be amplified: not while work is ready there, but not for ever; nor too many at
        once. These must not hide what is due behind them, which may be the work of a dead worker."""
        wait = cursor.sends % (HELD_BACK + 1) > 0
        if wait or not self._resends:
            ready = await self._count(cursor.queue)
            pause = max(until_next_look(), 2 * ready * self._interval / self._limit)  # spread by half of our rate
            later = self._env.now() + pause * (0.5 + random.random() / 2)
            if wait and ready:
                return await self._postpone(keys, entry, later, cursor.next(sends=cursor.sends + 1))
            if not self._resends:
                return await self._postpone(keys, entry, later)
        self._resends -= 1
        rules, now = self._env.rules, self._env.now()
        if await self._trusted(keys, cursor):
            return await self._make(keys, entry, rules.resend(cursor, now))
        return await self._postpone(keys, entry, rules.unsent(cursor, now), cursor.next(sends=cursor.sends + 1))

    async def _trusted(self, keys: BranchKeys, cursor: Cursor) -> bool:
        """Who receives what must be refused makes a dead letter of it; each sending would make one more."""
        env = self._env
        try:
            limit, message = env.settings.max_message_bytes, Message("", cursor.out, HEADERS)
            opened = await open_envelope(message, env.security, now=math.inf, limit=limit, allow_expired=True)
            destined(opened, cursor.queue)
        except SecurityError as exc:
            if not cursor.sends:  # a warning for each look would be as bad
                text = "hop %d of %s is left to other workers until it expires, as this one would refuse it: %s: %s"
                log.warning(text, cursor.seq, keys.cursor, type(exc).__name__, exc)
            return False
        return True

    async def _count(self, queue: str) -> int:
        """Messages ready in a queue; asked once in a sweep, however many look."""
        if queue not in self._ready:
            self._ready[queue] = asyncio.create_task(self._ask(queue))
        return await self._ready[queue]

    async def _ask(self, queue: str) -> int:
        """What we may not be told counts as none: rather is a message sent twice, at our rate, than a lost one never
        again."""
        try:
            return (await self._env.transport.queues(queue))[queue].ready
        except ConfigurationError as exc:  # a right is missing; a broker that is away is asked at the next look
            log.info("whether work is ready in queue %r is not known: %s", queue, exc)
            return 0

    async def _expire(self, keys: BranchKeys, entry: Entry, cursor: Cursor) -> None:
        """Nobody did it in time: it is parked, its worker is gone, or its queue is not served."""
        workflow = await workflow_of(self._env, cursor)
        log.warning("workflow %s has expired in queue %r", workflow or keys.workflow, cursor.queue)
        if self._env.notifier:
            event = ended_id(keys.hop_id(cursor.seq), "expired")
            await self._env.notifier.tell(WorkflowEnded(event, workflow, self._env.now(), "expired"))
        await end_expired(self._env, self._store, keys, cursor, entry.revision, cursor.out)

    async def _postpone(self, keys: BranchKeys, entry: Entry, due: float | None, cursor: Cursor | None = None) -> bool:
        value = KEEP if cursor is None else cursor.encode()
        with suppress(BackendError):  # then it is looked at again, or somebody else has moved it
            await self._store.put(keys.cursor, value, expected=entry.revision, due=due)
            return True
        return False
