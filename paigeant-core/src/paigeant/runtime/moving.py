"""Carrying out a move of a cursor that nobody claimed: dispatch, sweeper, resume, expiry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.json import encode

from ..envelope.frame import HEADERS
from ..errors import BackendError, MessageTooLarge, OutcomeUnknown, RevisionConflict, SecurityError
from ..model.events import WorkflowParked
from ..model.message import Message, Publication
from ..model.store import KEEP, Expected, Write
from ..state.cursor import Cursor
from ..state.transitions import Move, Outgoing
from .claim import nonce
from .lifetime import lifetime
from .notifier import event_id
from .patience import patiently

if TYPE_CHECKING:
    from ..abc import StateStore
    from ..state.ids import BranchKeys
    from .environment import Environment

log = logging.getLogger("paigeant.runtime")

UNSENT_AGAIN = 3.0
"""Seconds until a message that could not be sent is tried again."""


async def make_move(
    env: Environment, store: StateStore, keys: BranchKeys, move: Move, expected: Expected, writes: Sequence[Write] = ()
) -> None:
    """One compare-and-set of a cursor and what is sent with it.

    Once the cursor is written in separate mode, a publish failure is logged, not raised: the sweeper
    owns it.

    :raises RevisionConflict: the cursor has changed; nothing was done.
    :raises BackendUnavailable: the backend is not reached or refuses; nothing was done. What may have
        happened is repeated until it is known, instead.
    """
    cursor = move.cursor.next(nonce=move.cursor.nonce if move.cursor.outcome else nonce())
    write = Write(keys.cursor, cursor.encode(), expected, move.due, move.ttl)

    async def act() -> None:
        try:
            await _write(env, store, keys, cursor, move, (write, *writes))
        except (RevisionConflict, OutcomeUnknown):
            if not await patiently(landed, env.clock, "reading a cursor", store, keys, cursor):
                raise

    try:
        await act()
    except OutcomeUnknown as exc:  # to the end, now: the first attempt may yet arrive
        log.warning("moving a workflow: %s; trying again", exc)
        await patiently(act, env.clock, "moving a workflow")
    if env.mode == "separate" and move.send is not None:
        await send(env, store, keys, cursor, move.send)


async def send(env: Environment, store: StateStore, keys: BranchKeys, cursor: Cursor, outgoing: Outgoing) -> None:
    """Publish what a committed cursor of separate mode says. If that fails, the sweeper looks again soon, and not
    only when a message that *was* sent would be overdue; what no repetition can send is parked."""
    try:
        await env.transport.publish(publication(keys, cursor, outgoing))
    except BackendError as exc:
        log.warning("the message for hop %d was not sent: %s", cursor.seq, exc)
        with suppress(BackendError):
            entry = await store.get(keys.cursor)
            if entry is None or Cursor.decode(entry.value).nonce != cursor.nonce:
                return
            if isinstance(exc, MessageTooLarge):
                await park(env, store, keys, too_large(env, cursor, exc), entry.revision)
            else:
                due = env.now() + outgoing.delay + UNSENT_AGAIN
                await store.put(keys.cursor, KEEP, expected=entry.revision, due=due)


def publication(keys: BranchKeys, cursor: Cursor, send: Outgoing) -> Publication:
    """The message for the cursor's hop; its id tells a repeat from a deliberate re-send."""
    return Publication(send.queue, Message(keys.message_id(cursor.seq, cursor.gen), send.body, HEADERS), send.delay)


async def park(env: Environment, store: StateStore, keys: BranchKeys, move: Move, revision: int) -> None:
    """Carry out a move that parks, and tell of it.

    :raises RevisionConflict: the cursor has changed; nothing was done.
    """
    cursor = move.cursor
    workflow = await workflow_of(env, cursor)
    log.warning("workflow %s is parked (%s)", workflow or keys.workflow, cursor.parked)
    if env.notifier:
        event = event_id(keys.hop_id(cursor.seq), WorkflowParked, cursor.gen)
        await env.notifier.tell(WorkflowParked(event, workflow, env.now(), cursor.parked))
    await make_move(env, store, keys, move, revision, (parked_note(env, keys, cursor, workflow),))


def too_large(env: Environment, cursor: Cursor, exc: MessageTooLarge) -> Move:
    """What becomes of a cursor whose message the broker will never take, until somebody raises its limit."""
    return env.rules.park(cursor, reason=f"{type(exc).__name__}: {exc}"[:1000], body=cursor.out)


def parked_note(env: Environment, keys: BranchKeys, cursor: Cursor, workflow: str) -> Write:
    """The index entry of a parked branch. It names the workflow, for keys hold only hashes."""
    note = encode({"workflow": workflow, "queue": cursor.queue, "reason": cursor.parked})
    return Write(keys.parked, note, ttl=lifetime(env, cursor.exp))


async def end_expired(
    env: Environment, store: StateStore, keys: BranchKeys, cursor: Cursor, revision: int, final: bytes
) -> None:
    """End a workflow as expired: no record says so, only the tombstone.

    :param final: its last envelope; empty if only the broker holds that.
    :raises RevisionConflict: the cursor has changed; nothing was done.
    """
    move, writes = expiry(env, keys, cursor, final)
    await make_move(env, store, keys, move, revision, writes)
    if cursor.parked:
        await store.delete(keys.parked)


def expiry(env: Environment, keys: BranchKeys, cursor: Cursor, final: bytes) -> tuple[Move, tuple[Write, ...]]:
    """The move that ends a workflow as expired, and what is written with it."""
    ttl = lifetime(env, cursor.exp) + env.settings.workflow_ttl
    mark = nonce()
    move = env.rules.end(cursor, seq=cursor.seq, outcome="expired", nonce=mark, ttl=ttl)
    return move, (Write(keys.result(mark), final, ttl=ttl),) if final else ()


async def workflow_of(env: Environment, cursor: Cursor) -> str:
    """The correlation id, from the signed envelope; empty if the cursor holds none."""
    if not cursor.out:
        return ""
    try:
        opened = await env.open_final(cursor.out)
    except SecurityError as exc:
        log.warning("the envelope kept for a workflow cannot be read: %s", exc)
        return ""
    return opened.slip.origin.wf


async def _write(
    env: Environment, store: StateStore, keys: BranchKeys, cursor: Cursor, move: Move, writes: Sequence[Write]
) -> None:
    if env.mode == "shared":
        sent = () if move.send is None else (publication(keys, cursor, move.send),)
        return await env.transport.publish(*sent, writes=writes)
    for write in (*writes[1:], writes[0]):
        await store.put(write.key, write.value, expected=write.expected, due=write.due, ttl=write.ttl)
    return None


async def landed(store: StateStore, keys: BranchKeys, cursor: Cursor) -> bool:
    """Whether this very cursor is in the store, whatever the answer to its write was."""
    entry = await store.get(keys.cursor)
    return entry is not None and Cursor.decode(entry.value).nonce == cursor.nonce
