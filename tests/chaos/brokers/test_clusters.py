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

from rig.clusters import Cluster, NatsCluster, RabbitCluster, RedisCluster, RedisSentinel
from rig.clusters.redis import client
from rig.server import Server

from .conftest import Stage
from .disturbances import leader_kills
from .places import SHORT, Place, Store
from .report import PROOF

WORKFLOWS = 300 if PROOF else 30
STRIKES = 3 if PROOF else 1
CAUTIOUS = {"min-replicas-to-write": "1", "min-replicas-max-lag": "3", "appendfsync": "always"}
"""A primary without a replica that answered within three seconds accepts no writes: the least that can be lost."""
SLOW = {"PAIGEANT_RABBITMQ_TIMEOUT": "5"}
"""Three nodes of RabbitMQ on one machine need a while for a queue."""

Leader = Callable[[Any, str], Server]
CASES: dict[str, tuple[Callable[[Path], Cluster[Any]], Leader, Store, dict[str, str]]] = {
    "nats-replicas": (
        NatsCluster,
        lambda cluster, namespace: cluster.leader(f"paigeant_{namespace}_queues"),
        "none",
        {"PAIGEANT_NATS_REPLICAS": "3"},
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
    """A primary of Redis has as many replicas as it needs to accept writes."""
    if not isinstance(cluster, RedisSentinel):
        return True
    with client(cluster.leader()) as asked:
        return bool(asked.info("replication")["min_slaves_good_slaves"])


@pytest.mark.timeout(900 if PROOF else 300)
@pytest.mark.parametrize("case", CASES)
async def test_a_leader_is_killed(case: str, stage: Stage, tmp_path: Path) -> None:
    make, leader, store, more = CASES[case]
    with make(tmp_path / "cluster") as cluster:
        broker = cluster.nodes[0].name
        await asyncio.to_thread(cluster.eventually, lambda: whole(cluster), "whole")
        kept = {"PAIGEANT_STATE_STORE": store, "PAIGEANT_SQLITE_PATH": str(tmp_path / "state.db")}
        url = cluster.url.replace(",nats://", ",")  # one scheme is enough
        environment = {**cluster.environment, f"PAIGEANT_{broker.upper()}_URL": url, **SHORT[broker], **kept, **more}
        there = Place(broker, store, cluster, environment, cluster.nodes[0].installation.version)
        storm = stage(there, f"{case}-leader-kills", workflows=WORKFLOWS, strikes=STRIKES)
        await storm.run(leader_kills(cluster, lambda: leader(cluster, storm.namespace)))
