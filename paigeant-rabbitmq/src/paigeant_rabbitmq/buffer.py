"""Deliveries that have arrived and are not asked for yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection

from paigeant.abc import Delivery

from .delivery import RabbitMQDelivery

LINGER = 0.5
"""Seconds that a message may wait here for a free slot; then others shall have it."""


class Buffer:
    """In the order of arrival.

    :param on_stale: told when something has waited for too long, and again as long as it does.
    """

    def __init__(self, on_stale: Callable[[], None]) -> None:
        self._on_stale = on_stale
        self._deliveries: deque[RabbitMQDelivery] = deque()
        self._linger: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def add(self, delivery: RabbitMQDelivery) -> None:
        delivery.arrived = self._loop.time()
        self._deliveries.append(delivery)
        if self._linger is None:
            self._linger = self._loop.call_later(LINGER, self._look)

    def take(self, limit: int) -> list[Delivery]:
        deliveries = self._deliveries
        if len(deliveries) <= limit:
            found: list[Delivery] = list(deliveries)
            deliveries.clear()
            return found
        return [deliveries.popleft() for _ in range(limit)]

    def take_of(self, queues: Collection[str]) -> list[RabbitMQDelivery]:
        """All of these queues."""
        found = [one for one in self._deliveries if one.queue in queues]
        self._deliveries = deque(one for one in self._deliveries if one.queue not in queues)
        return found

    def queues(self) -> set[str]:
        return {one.queue for one in self._deliveries}

    def drop_lost(self) -> None:
        """What is not held any more belongs to others."""
        self._deliveries = deque(one for one in self._deliveries if one.held)

    def clear(self) -> None:
        self._deliveries.clear()

    def _look(self) -> None:
        self._linger = None
        if not self._deliveries:
            return
        left = self._deliveries[0].arrived + LINGER - self._loop.time()
        if left <= 0:
            self._on_stale()
        self._linger = self._loop.call_later(max(left, 0.01) if left > 0 else LINGER, self._look)
