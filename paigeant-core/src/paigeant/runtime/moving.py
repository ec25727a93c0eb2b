"""Carrying out a move of a cursor that nobody claimed: dispatch, sweeper, resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import OutcomeUnknown, RevisionConflict
from ..model.store import Expected, Write
from ..state.cursor import Cursor
from ..state.transitions import Move
from .claim import nonce
from .patience import patiently
from .protocol.stored import publication, send

if TYPE_CHECKING:
    from ..abc import StateStore
    from ..state.ids import BranchKeys
    from .environment import Environment


async def make_move(
    env: Environment, store: StateStore, keys: BranchKeys, move: Move, expected: Expected, writes: Sequence[Write] = ()
) -> None:
    """One compare-and-set of a cursor and what is sent with it.

    Once the cursor is written in separate mode, a publish failure is logged, not raised: the sweeper
    owns it.

    :raises RevisionConflict: the cursor has changed; nothing was done.
    """
    cursor = move.cursor.next(nonce=move.cursor.nonce if move.cursor.outcome else nonce())
    write = Write(keys.cursor, cursor.encode(), expected, move.due, move.ttl)

    async def act() -> None:
        try:
            await _write(env, store, keys, cursor, move, (write, *writes))
        except (RevisionConflict, OutcomeUnknown):
            if not await _landed(store, keys, cursor):
                raise

    await patiently(act, env.clock, "moving a workflow")
    if env.mode == "separate" and move.send is not None:
        await send(env, store, keys, cursor, move.send)


async def _write(
    env: Environment, store: StateStore, keys: BranchKeys, cursor: Cursor, move: Move, writes: Sequence[Write]
) -> None:
    if env.mode == "shared":
        sent = () if move.send is None else (publication(keys, cursor, move.send),)
        return await env.transport.publish(*sent, writes=writes)
    for write in (*writes[1:], writes[0]):
        await store.put(write.key, write.value, expected=write.expected, due=write.due, ttl=write.ttl)
    return None


async def _landed(store: StateStore, keys: BranchKeys, cursor: Cursor) -> bool:
    entry = await store.get(keys.cursor)
    return entry is not None and Cursor.decode(entry.value).nonce == cursor.nonce
