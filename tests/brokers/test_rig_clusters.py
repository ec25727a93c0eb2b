"""The rig's clusters: a killed leader has a successor, and comes back as one of the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aio_pika
import nats
import pytest

from rig.brokers import BrokerError
from rig.clusters import NatsCluster, RabbitCluster, RedisCluster, RedisSentinel
from rig.clusters.redis import client

pytestmark = pytest.mark.slow


async def make_stream(cluster: NatsCluster) -> None:
    connection = await nats.connect(cluster.url.split(","))
    await connection.jetstream().add_stream(name="orders", subjects=["orders"], num_replicas=3)
    await connection.close()


def test_nats(tmp_path: Path) -> None:
    with NatsCluster(tmp_path) as cluster:
        asyncio.run(make_stream(cluster))
        leader = cluster.leader("orders")
        cluster.kill(leader)
        cluster.eventually(lambda: cluster.leader("orders") in cluster.running, "led again")
        cluster.eventually(lambda: cluster.leader() in cluster.running, "able to place streams again")
        assert leader not in cluster.running
        leader.start()
        cluster.eventually(cluster._formed, "whole")
        with pytest.raises(BrokerError, match="no running node leads nothing"):
            cluster.leader("nothing")


async def make_queue(cluster: RabbitCluster) -> None:
    async with await aio_pika.connect(cluster.nodes[1].url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("orders", durable=True, arguments={"x-queue-type": "quorum"})


@pytest.mark.external_service
@pytest.mark.xdist_group("rabbitmq-cluster")
def test_rabbitmq(tmp_path: Path) -> None:
    with RabbitCluster(tmp_path) as cluster:
        asyncio.run(make_queue(cluster))
        leader = cluster.leader("orders")
        cluster.kill(leader)
        cluster.eventually(lambda: cluster.leader("orders") in cluster.running, "led again")
        leader.start()
        assert len(cluster._members()) == 3
        with pytest.raises(BrokerError, match="no running node leads 'nothing'"):
            cluster.leader("nothing")
        cluster.stop()
        cluster.start()  # all at once, for they wait for each other
        assert cluster.leader("orders") in cluster.nodes


def test_sentinel(tmp_path: Path) -> None:
    with RedisSentinel(tmp_path) as cluster:
        first = cluster.leader()
        assert first is cluster.nodes[0]
        with client(first) as primary:
            primary.set("key", "value")
            assert primary.wait(1, 5000) == 1
        cluster.kill(first)
        cluster.eventually(lambda: cluster.leader() is not first, "led again")
        with client(cluster.leader()) as primary:
            assert primary.get("key") == "value"
        first.start()
        # On a busy machine the Sentinels may change their mind meanwhile, and put it back.
        cluster.eventually(lambda: sorted(role(cluster, node) for node in (0, 1)) == ["master", "slave"], "whole")
        leader = cluster.leader()
        cluster.stop()
        cluster.start()
        assert cluster.leader() is leader


def role(cluster: RedisSentinel, node: int) -> str:
    with client(cluster.nodes[node]) as asked:
        return str(asked.execute_command("ROLE")[0])


def test_redis_cluster(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        assert len({cluster.leader(key).port for key in "abcdef"}) == 3
        owner = cluster.leader("{key}")
        with client(owner) as node:
            node.set("{key}1", "value")
        cluster.kill(owner)
        owner.start()
        cluster._await()
        with client(cluster.leader("{key}")) as node:
            assert node.get("{key}1") == "value"


def test_redis_cluster_with_replicas(tmp_path: Path) -> None:
    with RedisCluster(tmp_path, replicas=1) as cluster:
        owner = cluster.leader("{key}")
        cluster.kill(owner)
        cluster.eventually(lambda: cluster.leader("{key}") is not owner, "led again")
        owner.start()
        cluster._await()
        assert cluster.leader("{key}") is not owner


def test_a_cluster_that_cannot_form_leaves_nothing_behind(tmp_path: Path) -> None:
    cluster = NatsCluster(tmp_path, config={"no_such_setting": True})
    with pytest.raises(BrokerError, match="no_such_setting"):
        cluster.start()
    assert cluster.running == []
