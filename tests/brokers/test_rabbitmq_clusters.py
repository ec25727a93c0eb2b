"""RabbitMQ on three nodes, of which one dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from brokers.rabbit import LEASE, is_empty, one, publication, settings
from paigeant.errors import BackendError, BackendUnavailable
from paigeant_rabbitmq.transport import RabbitMQTransport
from rig.clusters import RabbitCluster

pytestmark = [pytest.mark.slow, pytest.mark.external_service, pytest.mark.xdist_group("rabbitmq-cluster")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitCluster]:
    """Whole again at the end of each test."""
    with RabbitCluster(tmp_path_factory.mktemp("rabbitmq")) as cluster:
        yield cluster


async def test_a_classic_queue_whose_node_is_away_is_neither_missing_nor_empty(cluster: RabbitCluster) -> None:
    first, _, last = cluster.nodes
    chosen = settings(first.url, queue_type="classic")
    async with RabbitMQTransport(chosen.model_copy(update={"url": last.url})) as elsewhere:
        await elsewhere.publish(publication("1"))
    async with RabbitMQTransport(chosen) as transport:
        assert not await is_empty(transport)
        await asyncio.to_thread(cluster.kill, last)
        try:
            for call in (transport.queues("work"), transport.peek("work"), transport.purge("work")):
                with pytest.raises(BackendUnavailable, match="is down or inaccessible"):
                    await call
        finally:
            await asyncio.to_thread(last.start)
        assert [message.id for message in await transport.peek("work")] == ["1"]


@pytest.mark.parametrize("what", ["peek", "purge"])
async def test_looking_into_a_queue_whose_leader_has_died_costs_nobody_a_delivery(
    cluster: RabbitCluster, what: str
) -> None:
    first, _, last = cluster.nodes
    chosen = settings(first.url)
    async with RabbitMQTransport(chosen.model_copy(update={"url": last.url})) as elsewhere:
        await elsewhere.publish(publication("1", "led elsewhere"))
    async with RabbitMQTransport(chosen) as transport, transport.consume(["work"], lease=LEASE) as consumer:
        await transport.publish(publication("2"))
        held = await one(consumer)
        await asyncio.to_thread(cluster.kill, last)
        try:
            with contextlib.suppress(BackendError):  # until another leads
                await getattr(transport, what)("led elsewhere")
            assert await transport.renew([held.lease_token]) == set()
            await held.settle()
        finally:
            await asyncio.to_thread(last.start)
