"""How queues, messages and keys are called on the server."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True)
class Names:
    """Streams and subjects of one namespace.

    ``<prefix>.q.<queue>.<message>`` is a message, ``<prefix>.s.<queue>.<message>`` one the server holds
    back; ``<prefix>.e.<key>`` an entry of the store, ``<prefix>.d.`` a hint when it is due,
    ``<prefix>.w.<key>`` where the server tells of its changes.
    """

    namespace: str
    prefix: str = field(init=False)
    queues: str = field(init=False)
    """The stream of the messages."""
    state: str = field(init=False)
    """The stream of the store."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", f"paigeant.{self.namespace}")
        object.__setattr__(self, "queues", f"paigeant_{self.namespace}_queues")
        object.__setattr__(self, "state", f"paigeant_{self.namespace}_state")

    def message(self, queue: str, token: str) -> str:
        return f"{self.prefix}.q.{queue_token(queue)}.{token}"

    def messages(self, queue: str) -> str:
        return f"{self.prefix}.q.{queue_token(queue)}.*"

    def schedule(self, queue: str, token: str) -> str:
        return f"{self.prefix}.s.{queue_token(queue)}.{token}"

    def schedules(self, queue: str) -> str:
        return f"{self.prefix}.s.{queue_token(queue)}.*"

    def entry(self, key: str) -> str:
        return f"{self.prefix}.e.{key.replace('/', '.')}"

    def change(self, key: str) -> str:
        return f"{self.prefix}.w.{key.replace('/', '.')}"

    def key_of(self, subject: str) -> str:
        """The key of an entry or a change."""
        return subject[len(self.prefix) + 3 :].replace(".", "/")


def queue_token(queue: str) -> str:
    """A queue as one token of a subject, and as the name of its consumer."""
    return queue.replace(".", "=")


def queue_of(token: str) -> str:
    """The reverse of ``queue_token``."""
    return token.replace("=", ".")


def message_token(message_id: str, again: int = 0) -> str:
    """A message id as one token. What is no plain word is hashed, and begins with ``=``.

    :param again: sequence of the delivery that a message of the same id and queue replaces: it is no
        repeat of that one, and must not be dropped as one.
    """
    token = message_id
    if not _PLAIN.fullmatch(message_id):
        digest = hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).digest()
        token = "=" + urlsafe_b64encode(digest).decode().rstrip("=")
    return f"{token}={again}" if again else token


def plain_id(token: str) -> str | None:
    """The message id a token stands for; ``None``: it was hashed."""
    return token.partition("=")[0] or None
