"""Short ways to publish and to receive, shared by the tests of the SQLite queues."""

from __future__ import annotations

from paigeant.abc import Consumer, Delivery
from paigeant.model.message import Message, Publication


def publication(text: str = "m", queue: str = "q", **more: float) -> Publication:
    return Publication(queue, Message(text, text.encode(), {"name": text}), **more)


async def one(consumer: Consumer) -> Delivery:
    (delivery,) = await consumer.receive(1)
    return delivery
