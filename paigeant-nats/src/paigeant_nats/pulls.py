"""Requests for messages of one queue, and what is known of them."""

from __future__ import annotations

import json
import time

from .api import SECOND
from .names import queue_token
from .session import Session

EXPIRES = 60.0
HEARTBEAT = 10.0
_ANSWER_WITHIN = 5.0
_BYTES = 1 << 20
"""What a probe may bring: on a slow network all other answers come behind it, and its leases run."""

NONSENSE = b"{"
"""A request that is refused: nothing comes of it but the refusal."""

_ENDS = ("maxwaiting", "maxbytes", "batch completed")
"""What is in the description of a 409 of a consumer that is well."""


class Pull:
    """A request under way.

    :param probe: it asks for what is there now, and is answered at once; otherwise it waits for one message.
    :param bounded: it ends before the message that does not fit.
    """

    __slots__ = ("bounded", "left", "probe", "serial", "silent_at")

    def __init__(self, serial: int, batch: int, *, probe: bool, bounded: bool) -> None:
        self.serial, self.left, self.probe, self.bounded = serial, batch, probe, bounded
        self.silent_at = time.monotonic() + (_ANSWER_WITHIN if probe else 2 * HEARTBEAT + 1)

    def heard(self) -> None:
        """The server lives, and knows of it."""
        self.silent_at = time.monotonic() + (_ANSWER_WITHIN if self.probe else 2 * HEARTBEAT + 1)

    def body(self) -> bytes:
        if not self.probe:
            return _WAIT
        bound = {"max_bytes": _BYTES} if self.bounded else {}
        return json.dumps({"batch": self.left, "no_wait": True, **bound}).encode()


_WAIT = json.dumps({"batch": 1, "expires": int(EXPIRES * SECOND), "idle_heartbeat": int(HEARTBEAT * SECOND)}).encode()


class Source:
    """One queue of a consumer.

    ``hot``: there may be more than one message, so it is worth asking for many. A queue that is not is
    asked for one message, and that request waits at the server: nothing polls.

    :param most: messages that may be asked for at once.
    """

    __slots__ = ("hot", "largest", "lost", "mended_at", "most", "name", "pull", "subject", "token")

    def __init__(self, session: Session, name: str, most: int) -> None:
        self.name, self.most = name, most
        self.token = token = queue_token(name)
        self.subject = f"{session.api.prefix}.CONSUMER.MSG.NEXT.{session.names.queues}.{token}"
        self.pull: Pull | None = None
        self.mended_at = float("-inf")
        self.largest = 0  # of the messages that came
        self.hot, self.lost = True, False
        """``lost``: the consumer on the server has to be looked after before anything else is asked."""

    def forget(self) -> None:
        """The connection, and what was asked on it, is gone."""
        self.pull, self.hot, self.lost = None, True, True

    def exceeds(self, batch: int) -> bool:
        """Whether so many messages may be too much for a request. A bound where there is none to fear would cost one
        more message from the server, which then tells the end of every request."""
        return batch > 1 and (not self.largest or batch * self.largest > _BYTES)

    def arrived(self, size: int) -> None:
        """A message came."""
        self.hot, self.largest = True, max(self.largest, size)
        if (pull := self.pull) is not None:
            pull.heard()
            pull.left -= 1
            if pull.left <= 0:
                self.pull = None

    def ended(self, serial: int, status: str, description: str) -> None:
        """The server ended a request."""
        if status == "100":
            if self.pull is not None and self.pull.serial == serial:
                self.pull.heard()
            return
        if status not in {"404", "408"}:  # 409: gone or moved; 503: nobody there
            self.lost = self.lost or not any(end in description.lower() for end in _ENDS)
        if self.pull is not None and self.pull.serial == serial:
            self.pull, self.hot = None, False

    def silent(self, now: float) -> bool:
        """Whether a request was forgotten by the server: it does so when it restarts or moves."""
        if self.pull is None or now < self.pull.silent_at:
            return False
        self.forget()
        return True
