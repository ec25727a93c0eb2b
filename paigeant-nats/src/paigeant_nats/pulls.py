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


class Pull:
    """A request under way.

    :param probe: it asks for what is there now, and is answered at once; otherwise it waits for one message.
    """

    __slots__ = ("left", "probe", "serial", "silent_at")

    def __init__(self, serial: int, batch: int, *, probe: bool) -> None:
        self.serial, self.left, self.probe = serial, batch, probe
        self.silent_at = time.monotonic() + (_ANSWER_WITHIN if probe else 2 * HEARTBEAT + 1)

    def heard(self) -> None:
        """The server lives, and knows of it."""
        self.silent_at = time.monotonic() + (_ANSWER_WITHIN if self.probe else 2 * HEARTBEAT + 1)

    def body(self) -> bytes:
        if self.probe:
            return json.dumps({"batch": self.left, "no_wait": True}).encode()
        return _WAIT


_WAIT = json.dumps({"batch": 1, "expires": int(EXPIRES * SECOND), "idle_heartbeat": int(HEARTBEAT * SECOND)}).encode()


class Source:
    """One queue of a consumer.

    ``hot``: there may be more than one message, so it is worth asking for many. A queue that is not is
    asked for one message, and that request waits at the server: nothing polls.

    :param most: messages that may be asked for at once.
    """

    __slots__ = ("hot", "lost", "mended_at", "most", "name", "pull", "subject", "token")

    def __init__(self, session: Session, name: str, most: int) -> None:
        self.name, self.most = name, most
        self.token = token = queue_token(name)
        self.subject = f"{session.api.prefix}.CONSUMER.MSG.NEXT.{session.names.queues}.{token}"
        self.pull: Pull | None = None
        self.mended_at = float("-inf")
        self.hot, self.lost = True, False
        """``lost``: the consumer on the server has to be looked after before anything else is asked."""

    def forget(self) -> None:
        """The connection, and what was asked on it, is gone."""
        self.pull, self.hot, self.lost = None, True, True

    def arrived(self) -> None:
        """A message came."""
        self.hot = True
        if (pull := self.pull) is not None:
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
            self.lost = self.lost or "maxwaiting" not in description.lower()
        if self.pull is not None and self.pull.serial == serial:
            self.pull, self.hot = None, False

    def silent(self, now: float) -> bool:
        """Whether a request was forgotten by the server: it does so when it restarts or moves."""
        if self.pull is None or now < self.pull.silent_at:
            return False
        self.forget()
        return True
