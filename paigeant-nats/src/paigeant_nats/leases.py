"""Who owns a delivery, and until when. The server fences nothing, so we do.

A server takes an acknowledgement or a heartbeat from anyone who ever received the message. Each lease
has its deadline on the monotonic clock here, and nothing is sent after it.
"""

from __future__ import annotations

import secrets
import time

from paigeant.errors import LeaseLost


class Lease:
    """One delivery's.

    :param reply: subject of its acknowledgement.
    :param length: seconds.
    :param start: monotonic time at which the server's clock may have started, at the earliest.
    """

    __slots__ = ("acknowledging", "deadline", "length", "reply", "token")

    def __init__(self, reply: str, length: float, start: float) -> None:
        self.reply, self.length, self.deadline = reply, length, start + length
        self.acknowledging = False
        """Its acknowledgement was sent: only a confirmation of that counts from now on. A server that was killed may
        have forgotten the delivery: then it confirms heartbeats, and never an acknowledgement."""
        self.token = f"{_PROCESS}:{reply}"
        _leases[self.token] = self

    def __bool__(self) -> bool:
        """Whether it is still owned."""
        return time.monotonic() < self.deadline

    def check(self) -> None:
        """Raise ``LeaseLost`` unless owned."""
        if time.monotonic() >= self.deadline:
            raise LeaseLost(f"delivery {self.reply} is settled or released, or its lease of {self.length:g} s ended")

    def renewed(self, sent: float) -> bool:
        """The server confirmed a heartbeat sent at ``sent``; whether that was in time."""
        if not self:  # it may have reached the server after the end, and have prolonged another's
            return False
        if self.acknowledging:
            return True
        self.deadline = sent + self.length
        return True

    def end(self) -> None:
        """It is settled or released."""
        self.deadline = float("-inf")
        _leases.pop(self.token, None)


def find(token: str) -> Lease | None:
    """The lease of a token; ``None`` if it ended. Any instance of this process may ask, in any thread."""
    lease = _leases.get(token)
    return lease if lease else None


_PROCESS = secrets.token_hex(4)
_leases: dict[str, Lease] = {}
