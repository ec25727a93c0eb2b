"""One queue of a consumer: the subscription by which the broker pushes, and its credit.

RabbitMQ pushes until ``prefetch`` messages of a subscription are not acknowledged; to change that number takes a new
subscription. Messages of the old one stay ours.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable

from .acks import Acks

_PROCESS = secrets.token_hex(4)
_numbers = itertools.count(1)
_alive: set[str] = set()
"""Names of the grips of this process that still hold their deliveries; asked by other threads, too."""

MOST = 65_535


class Grip:
    """The hold of one subscription on its deliveries. It ends with the channel, or when the broker cancels it."""

    __slots__ = ("acks", "alive", "name", "unsettled")

    def __init__(self, acks: Acks) -> None:
        self.acks = acks
        self.name = f"{_PROCESS}-{next(_numbers)}"
        self.alive, self.unsettled = True, 0
        _alive.add(self.name)

    def arrived(self, tag: int) -> None:
        self.unsettled += 1
        self.acks.arrived(tag)

    def acknowledge(self, tag: int) -> None:
        self.unsettled -= 1
        self.acks.acknowledge(tag)

    def reject(self, tag: int) -> None:
        self.unsettled -= 1
        self.acks.reject(tag)

    def end(self) -> None:
        """Idempotent."""
        self.alive = False
        _alive.discard(self.name)


def lost(token: str) -> bool:
    """Whether the delivery of this lease token is certainly not held any more by this process."""
    return token.partition("/")[0] not in _alive


class Lane:
    """A queue and its present subscription, if it has one."""

    __slots__ = ("entity", "grip", "grips", "name", "prefetch", "tag")

    def __init__(self, name: str, entity: str) -> None:
        self.name, self.entity = name, entity
        self.tag, self.prefetch = "", 0
        self.grip: Grip | None = None
        self.grips: list[Grip] = []

    def wants(self, limit: int) -> bool:
        """Whether more messages could be started than this subscription will ever push."""
        grip = self.grip
        return grip is None or self.prefetch <= grip.unsettled or 2 * self.prefetch <= limit

    def next_prefetch(self, limit: int, most: int) -> int:
        """As many as are wanted; twice as many as last time if those were used up."""
        grip = self.grip
        used_up = grip is not None and self.prefetch <= grip.unsettled
        wanted = max(limit, min(2 * self.prefetch, most)) if used_up else limit
        return max(1, min(wanted, MOST))

    def subscribe(self, grip: Grip, prefetch: int) -> None:
        self.end(lambda old: old.unsettled <= 0)
        self.grips.append(grip)
        self.grip, self.tag, self.prefetch = grip, grip.name, prefetch

    def unsubscribe(self) -> str:
        """No more pushes are wanted; what was pushed stays ours. The tag to cancel."""
        tag, self.grip, self.tag, self.prefetch = self.tag, None, "", 0
        return tag

    def end(self, only: Callable[[Grip], bool] = lambda grip: True) -> None:
        """The broker took back what was pushed."""
        for grip in self.grips:
            if only(grip):
                grip.end()
        if self.grip is not None and not self.grip.alive:
            self.unsubscribe()
        self.grips = [grip for grip in self.grips if grip.alive]
