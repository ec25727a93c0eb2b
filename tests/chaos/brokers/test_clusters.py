"""The leader of a cluster is killed while it works.

NATS (three replicas) and RabbitMQ (quorum queues on three nodes) lose no acknowledged message: without a store, where
a lost message is a lost workflow, every workflow ends. Redis replicates after it has answered, so a new primary may
not know what the old one had acknowledged; what holds is that with a durable store elsewhere every workflow ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paigeant import get_transport
from paigeant.abc import Transport
from paigeant.errors import BackendError
from paigeant.model.message import Message, Publication
from rig.brokers import RedisServer
from rig.clusters import Cluster, NatsCluster, RabbitCluster, RedisCluster, RedisSentinel
from rig.clusters.redis import client
from rig.server import Server

from .conftest import Stage
from .disturbances import leader_kills
from .places import SHORT, Place, Store
from .report import PROOF, save

MESSAGES = 20_000 if PROOF else 400
LANES = 20
WORKFLOWS = 300 if PROOF else 30
STRIKES = 3 if PROOF else 1
CAUTIOUS = {"min-replicas-to-write": "1", "min-replicas-max-lag": "3", "appendfsync": "always"}
"""A primary without a replica that answered within three seconds accepts no writes: the least that can be lost."""
SLOW = {"PAIGEANT_RABBITMQ_TIMEOUT": "5", "PAIGEANT_NATS_TIMEOUT": "5"}
"""Three nodes that have to agree, on one machine, need a while to make a queue."""

Leader = Callable[[Any, str], Server]
CASES: dict[str, tuple[Callable[[Path], Cluster[Any]], Leader, Store, dict[str, str]]] = {
    "nats-replicas": (
        NatsCluster,
        lambda cluster, namespace: cluster.leader(f"paigeant_{namespace}_queues"),
        "none",
        SLOW | {"PAIGEANT_NATS_REPLICAS": "3"},
    ),
    "rabbitmq-quorum": (
        RabbitCluster,
        lambda cluster, namespace: cluster.leader(f"paigeant.{namespace}.first"),
        "none",
        SLOW,
    ),
    "redis-sentinel": (
        lambda directory: RedisSentinel(directory, replicas=2, config=CAUTIOUS),
        lambda cluster, _namespace: cluster.leader(),
        "sqlite",
        {},
    ),
    "redis-cluster": (
        lambda directory: RedisCluster(directory, replicas=1),
        lambda cluster, namespace: cluster.leader(f"{{paigeant:{namespace}}}"),
        "sqlite",
        {},
    ),
}


def whole(cluster: Cluster[Any]) -> bool:
    """All replicas of Redis have what their primaries have: else they cannot take their place. (``min-replicas``
    counts those as well that are still loading: what is written meanwhile dies with the primary.)"""
    if isinstance(cluster, RedisCluster):
        return all(map(synchronised, cluster.nodes))
    if not isinstance(cluster, RedisSentinel):
        return True
    with client(cluster.leader()) as asked:
        asked.incr("written")
        return int(asked.wait(len(cluster.running) - 1, 1000)) == len(cluster.running) - 1


def synchronised(node: RedisServer) -> bool:
    with client(node) as asked:
        state = asked.info("replication")
    return bool(state["connected_slaves"] if state["role"] == "master" else state["master_link_status"] == "up")


@pytest.mark.timeout(900 if PROOF else 300)
@pytest.mark.parametrize("case", CASES)
async def test_a_leader_is_killed(case: str, stage: Stage, tmp_path: Path) -> None:
    make, leader, store, more = CASES[case]
    with make(tmp_path / "cluster") as cluster:
        broker = cluster.nodes[0].name
        kept = {"PAIGEANT_STATE_STORE": store, "PAIGEANT_SQLITE_PATH": str(tmp_path / "state.db")}
        url = cluster.url.replace(",nats://", ",")  # one scheme is enough
        environment = {**cluster.environment, f"PAIGEANT_{broker.upper()}_URL": url, **SHORT[broker], **kept, **more}
        there = Place(broker, store, cluster, environment, cluster.nodes[0].installation.version)
        # A message is sent again after this, then after four times as long, and so on, also where sending failed.
        storm = stage(there, f"{case}-leader-kills", workflows=WORKFLOWS, strikes=STRIKES, resend=1.0)
        await asyncio.to_thread(cluster.eventually, lambda: whole(cluster), "whole")
        await storm.run(leader_kills(cluster, lambda: leader(cluster, storm.namespace), whole))


async def test_what_a_primary_of_redis_acknowledged(stage: Stage, tmp_path: Path) -> None:
    """Measures what is lost of acknowledged messages when the primary is killed; nothing comes twice or from nowhere.

    The primary answers before its replicas have it, so the number may be anything up to what was on its way.
    """
    with RedisSentinel(tmp_path / "cluster", replicas=2, config=CAUTIOUS) as cluster:
        await asyncio.to_thread(cluster.eventually, lambda: whole(cluster), "whole")
        environment = {**cluster.environment, **SHORT["redis"]}
        there = Place("redis", "none", cluster, environment, cluster.nodes[0].installation.version)
        stage(there, "redis-sentinel-acknowledged", workflows=1)
        async with get_transport() as transport:
            acknowledged, tried = await publish_through_a_failover(transport, cluster)
            await asyncio.to_thread(cluster.eventually, lambda: whole(cluster), "whole")
            arrived = await received(transport)
    lost = acknowledged - set(arrived)
    save("redis-sentinel-acknowledged", {"acknowledged": len(acknowledged), "lost": len(lost), "settings": CAUTIOUS})
    assert len(acknowledged) >= MESSAGES // 2
    assert len(arrived) == len(set(arrived)), "a message came twice"
    assert set(arrived) <= tried


async def publish_through_a_failover(transport: Transport, cluster: RedisSentinel) -> tuple[set[str], set[str]]:
    """Ids of acknowledged messages, and of all."""
    acknowledged, tried, old = set[str](), set[str](), cluster.leader()
    numbers = iter(range(MESSAGES))

    async def lane() -> None:
        for number in numbers:
            if number == MESSAGES // 2:
                await asyncio.to_thread(cluster.kill, old)
            tried.add(f"m-{number}")
            try:
                await transport.publish(Publication("kept", Message(f"m-{number}", b"x")))
                acknowledged.add(f"m-{number}")
            except BackendError:
                assert len(tried) >= MESSAGES // 2, "refused before anything happened"
                await asyncio.to_thread(cluster.eventually, lambda: cluster.leader() is not old, "led again")

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return acknowledged, tried


async def received(transport: Transport) -> list[str]:
    found: list[str] = []
    async with transport.consume(["kept"], lease=3.0) as consumer:
        while (await transport.queues("kept"))["kept"].ready:
            for delivery in await consumer.receive(100):
                found.append(delivery.message.id)
                await delivery.settle()
    return found
