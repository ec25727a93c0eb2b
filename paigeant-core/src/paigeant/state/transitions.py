"""The transitions of a cursor, as data: the new cursor, when somebody must look again, what to send.

Two ways to carry them out share these rules. *Shared*: cursor, publication and acknowledgement are
one act of a transport that is also the store; ``out`` is kept only where no message is in the
broker. *Separate*: the cursor is committed first, always with ``out`` and a ``due``, then the message
is published; a message that never arrives is sent again by the sweeper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from msgspec import Struct

from .cursor import Cursor, State

RESEND_AFTER = 30.0
RESEND_FACTOR = 4.0
HELD_BACK = 60
"""Most looks at a message in a row after which it is not sent again, for there is work ready in its queue."""
BROKER_DELAY = 5.0
MAX_CRASHES = 5
EXPIRY_MARGIN = 301.0
"""More than any skew of clocks: a wait longer than the workflow lives ends when that has expired."""


class Outgoing(Struct, frozen=True):
    """A message to publish for the cursor's hop."""

    queue: str
    body: bytes
    delay: float = 0.0


class Move(Struct, frozen=True):
    """One transition: the compare-and-set and what is sent with it (shared) or after it (separate)."""

    cursor: Cursor
    due: float | None = None
    ttl: float | None = None
    send: Outgoing | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The transitions of one mode."""

    separate: bool
    broker_delay: float = BROKER_DELAY
    """Longest delay that is left to the broker, in seconds; longer ones wait in ``due``."""

    def start(self, *, head: str, queue: str, body: bytes, content: str, exp: int, now: float) -> Move:
        """Dispatch: the first cursor of a branch."""
        return self._sent(Cursor(head=head, queue=queue, content=content, exp=exp), body, now)

    def forward(self, cursor: Cursor, *, seq: int, head: str, queue: str, body: bytes, now: float) -> Move:
        """The hop is done; the next one is ready."""
        fresh = Cursor(seq=seq, head=head, queue=queue, content=cursor.content, exp=cursor.exp)
        return self._sent(fresh, body, now)

    def adopt(self, cursor: Cursor, *, seq: int, head: str, queue: str, body: bytes, now: float) -> Move:
        """The cursor catches up with a verified message that is ahead of it; nothing is sent."""
        move = self.forward(cursor, seq=seq, head=head, queue=queue, body=body, now=now)
        return Move(move.cursor, move.due)

    def end(self, cursor: Cursor, *, seq: int, outcome: str, nonce: str, ttl: float) -> Move:
        """The one terminal state: a tombstone that lives as long as an old message could verify.

        :param nonce: of the writer; the final envelope is stored under it.
        """
        tombstone = Cursor(seq=seq, state=State.ENDED, outcome=outcome, content=cursor.content, nonce=nonce)
        return Move(tombstone, None, ttl)

    def retry(self, cursor: Cursor, *, delay: float, counted: bool, body: bytes, now: float) -> Move:
        """Another attempt after ``delay`` seconds: short delays wait in the broker, long ones in ``due``."""
        attempt, gen = cursor.attempt + (1 if counted else 0), cursor.gen + 1
        waiting = cursor.next(
            state=State.WAITING, until=now + delay, attempt=attempt, gen=gen, sends=0, owner="", parked=""
        )
        if delay > self.broker_delay:
            return Move(waiting.next(out=body), _by_expiry(cursor, now + delay))
        sent = Outgoing(cursor.queue, body, delay)
        if self.separate:
            return Move(waiting.next(out=body), now + delay + RESEND_AFTER, None, sent)
        return Move(waiting.next(out=b""), _by_expiry(cursor), None, sent)

    def park(self, cursor: Cursor, *, reason: str, body: bytes) -> Move:
        """It waits for a person, at most until the workflow expires."""
        parked = cursor.next(state=State.WAITING, parked=reason, until=0.0, owner="", out=body)
        return Move(parked, float(cursor.exp) if cursor.exp else None)

    def resume(self, cursor: Cursor, now: float) -> Move:
        """A parked branch, or one whose time has come, is ready again; attempts and crashes start anew."""
        fresh = cursor.next(attempt=1, crashes=0) if cursor.parked else cursor
        return self._ready(fresh.next(gen=fresh.gen + 1), cursor.out, now)

    def claim(self, cursor: Cursor, *, owner: str, lease: float, now: float) -> Move:
        """Separate mode: this claim owns the hop until ``due``."""
        return Move(cursor.next(state=State.RUNNING, owner=owner, until=0.0), now + lease)

    def release(self, cursor: Cursor, now: float) -> Move:
        """A claim given back unharmed at shutdown, by copy."""
        return self._ready(cursor.next(gen=cursor.gen + 1), cursor.out, now)

    def take_over(self, cursor: Cursor, now: float) -> Move:
        """Separate mode: the owner's lease ended. Too many dead owners park the branch as poison."""
        crashes = cursor.crashes + 1
        if crashes >= MAX_CRASHES:
            return self.park(cursor.next(crashes=crashes), reason="poison", body=cursor.out)
        return self._ready(cursor.next(crashes=crashes, gen=cursor.gen + 1), cursor.out, now)

    def resend(self, cursor: Cursor, now: float) -> Move:
        """Separate mode: the message of a ready hop may be lost. First the same id again, then new ones."""
        gen = cursor.gen + (1 if cursor.sends else 0)
        sent = cursor.next(sends=cursor.sends + 1, gen=gen)
        due = _by_expiry(cursor, now + until_next_look())
        return Move(sent, due, None, Outgoing(cursor.queue, cursor.out))

    def unsent(self, cursor: Cursor, now: float, back: float = 0.0) -> float:
        """Separate mode: when to look again at a hop that is not to be sent now, or that is ``back`` by itself then."""
        return _by_expiry(cursor, now + back + RESEND_AFTER)

    @property
    def held(self) -> float:
        """Longest time in seconds that a message may be in the broker while the cursor keeps a copy (``out``)."""
        return self.broker_delay if self.separate else -math.inf

    def _ready(self, cursor: Cursor, body: bytes, now: float) -> Move:
        ready = cursor.next(state=State.READY, owner="", parked="", until=0.0, sends=0, out=b"")
        return self._sent(ready, body, now)

    def _sent(self, ready: Cursor, body: bytes, now: float) -> Move:
        sent = Outgoing(ready.queue, body)
        if self.separate:
            return Move(ready.next(out=body), _by_expiry(ready, now + RESEND_AFTER), None, sent)
        return Move(ready, _by_expiry(ready), None, sent)


def _by_expiry(cursor: Cursor, due: float = math.inf) -> float:
    """Nobody may serve the cursor's queue, so somebody looks when the workflow has expired, at the latest.

    In shared mode that is the only look at a message in the broker. A later move of the branch has the same due.
    """
    return min(due, cursor.exp + EXPIRY_MARGIN)


def until_next_look() -> float:
    """Seconds until the sweeper looks again at a message that it has sent or held back.

    Always the same: a broker that loses its data would else be noticed late by those that had waited long.
    """
    return RESEND_AFTER * RESEND_FACTOR
