"""An instance serves the event loop that connected it, and says so to whoever comes from another."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from paigeant.errors import ConfigurationError
from paigeant.model.message import Message, Publication
from paigeant_nats.settings import NatsSettings
from paigeant_nats.store import NatsStore
from paigeant_nats.transport import NatsTransport
from paigeant_rabbitmq.settings import RabbitMQSettings
from paigeant_rabbitmq.transport import RabbitMQTransport
from paigeant_redis.settings import RedisSettings
from paigeant_redis.store import RedisStore
from paigeant_redis.transport import RedisTransport

PATIENCE = 8.0
MESSAGE = Publication("work", Message("m-1", b"body"))


def nats(url: str, namespace: str) -> list[Any]:
    chosen = NatsSettings(url=url, namespace=namespace, timeout=1.0)
    return [NatsTransport(chosen), NatsStore(chosen)]


def redis(url: str, namespace: str) -> list[Any]:
    chosen = RedisSettings(url=url, namespace=namespace)
    return [RedisTransport(chosen), RedisStore(chosen)]


def rabbitmq(url: str, namespace: str) -> list[Any]:
    return [RabbitMQTransport(RabbitMQSettings(url=url, namespace=namespace))]


@pytest.mark.parametrize(
    ("make", "server"),
    [
        (nats, "nats_server"),
        (redis, "redis_server"),
        pytest.param(rabbitmq, "rabbit_server", marks=pytest.mark.external_service),
    ],
)
def test_another_event_loop_is_refused(
    make: Callable[[str, str], list[Any]], server: str, request: pytest.FixtureRequest
) -> None:
    made = make(request.getfixturevalue(server).url, f"r-{uuid.uuid4().hex[:12]}")
    transport = made[0]

    async def elsewhere() -> None:
        acts: list[Callable[[], Awaitable[object]]] = [
            transport.connect,
            lambda: transport.publish(MESSAGE),
            lambda: transport.queues("work"),
            *(each.disconnect for each in made),
        ]
        if (store := transport.state_store()) is not None:
            acts += [lambda: store.get("a"), store.now]
        for act in acts:
            with pytest.raises(ConfigurationError, match="another event loop"):
                await asyncio.wait_for(act(), PATIENCE)
        async with transport.clone() as clone:
            await clone.publish(MESSAGE)

    with asyncio.Runner() as first:
        for each in made:
            first.run(each.connect())
        asyncio.run(elsewhere())
        first.run(transport.publish(MESSAGE))
        for each in made:
            first.run(each.disconnect())
