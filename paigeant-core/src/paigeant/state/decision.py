"""What to do with a verified message, given the cursor. Pure: a table of cases."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from .cursor import Cursor, State


class Action(Enum):
    """What a received message calls for."""

    RUN = "claim it and run the activity"
    ADOPT = "the store lost a moment: bring the cursor up to the message, then run"
    RESEND = "its successor may not have been sent: send it again, settle this"
    DROP = "a duplicate of what is done or under way: settle, nothing else"
    EARLY = "its time has not come: give it back until then"
    FORK = "another history than the committed one: refuse"


class Decision(Struct, frozen=True):
    """An action, and for ``EARLY`` the seconds to wait."""

    action: Action
    delay: float = 0.0


_RUN = Decision(Action.RUN)
_ADOPT = Decision(Action.ADOPT)


def decide(cursor: Cursor | None, seq: int, heads: Callable[[int], str], now: float, held: float) -> Decision:
    """Judge a message for hop ``seq``; ``heads(i)`` is the payload digest of its record ``i`` (0: origin).

    ``held`` is that of the ``Rules``.

    A message that is ahead of the cursor and
    contains the cursor's last record is the rest of a history that the store forgot (a failover);
    only a different record at a known position is a fork.

    Copies of what is done make its successor be sent again once, or each of them would make a copy of that.
    """
    if cursor is None:
        return _ADOPT
    if cursor.state is State.ENDED:
        return Decision(Action.DROP)
    if seq < cursor.seq:
        resend = seq == cursor.seq - 1 and cursor.state is State.READY and bool(cursor.out) and not cursor.sends
        return Decision(Action.RESEND if resend else Action.DROP)
    if heads(cursor.seq) != cursor.head:
        return Decision(Action.FORK)
    if seq > cursor.seq:
        return _ADOPT
    return _at_cursor(cursor, now, held)


def _at_cursor(cursor: Cursor, now: float, held: float) -> Decision:
    if cursor.state is State.READY:
        return _RUN
    if cursor.state is State.WAITING and not cursor.parked:
        early = cursor.until - now
        if cursor.out and early > held:
            return Decision(Action.DROP)  # The hop's own message is not sent yet: this is a copy.
        return Decision(Action.EARLY, early) if early > 0 else _RUN
    return Decision(Action.DROP)
