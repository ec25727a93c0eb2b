"""What the tests of the RabbitMQ transport share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika

from paigeant.abc import Consumer, Delivery
from paigeant.errors import BackendUnavailable, OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant_rabbitmq.settings import RabbitMQSettings
from paigeant_rabbitmq.transport import RabbitMQTransport

PATIENCE = 30.0
LEASE = 30.0


def settings(url: str, **values: Any) -> RabbitMQSettings:
    """Of a namespace of its own."""
    return RabbitMQSettings(url=url, namespace=f"t-{uuid.uuid4().hex[:12]}", **values)


def publication(message_id: str, queue: str = "work", **values: Any) -> Publication:
    return Publication(queue, Message(message_id, b"body", {"key": "value"}), **values)


async def patiently(call: Callable[[], Awaitable[None]]) -> None:
    """As the core repeats a publish: with the same ids, until the broker answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except (BackendUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.1)


async def received(consumer: Consumer, limit: int = 1) -> list[Delivery]:
    async with asyncio.timeout(PATIENCE):
        return await consumer.receive(limit)


async def one(consumer: Consumer) -> Delivery:
    [delivery] = await received(consumer)
    return delivery


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():
            await asyncio.sleep(0.05)


async def is_empty(transport: RabbitMQTransport, queue: str = "work") -> bool:
    return (await transport.queues(queue))[queue].ready == 0


@asynccontextmanager
async def bare_channel(url: str) -> AsyncGenerator[aio_pika.abc.AbstractChannel]:
    """Another program on the same broker."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        yield channel
