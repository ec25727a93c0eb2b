"""Messages that go back to their queue, because they are early or nobody here starts them."""

from __future__ import annotations

import asyncio
import logging

from paigeant.errors import LeaseLost, PaigeantError

from .delivery import RabbitMQDelivery
from .tasks import cancel

log = logging.getLogger("paigeant.rabbitmq")


class Returns:
    """Those under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def give_back(self, delivery: RabbitMQDelivery, delay: float) -> None:
        """As a copy that does not count this receipt; if that cannot be had, simply back."""
        task = asyncio.ensure_future(_returned(delivery, delay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for those under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Leave the rest to the broker."""
        await cancel(*self._tasks)


async def _returned(delivery: RabbitMQDelivery, delay: float) -> None:
    try:
        await delivery.give_back(delay, (delivery.deliveries or 1) - 1)
    except LeaseLost:
        pass
    except PaigeantError as exc:
        log.warning("a message of queue %r could not be put back (%s); the broker will", delivery.queue, exc)
        await asyncio.sleep(1.0)
        delivery.requeue()
