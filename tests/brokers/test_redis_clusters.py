"""Sentinel and Redis Cluster on loopback: the primary is killed under load, and its replica takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from paigeant.errors import BackendUnavailable, ConfigurationError
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write
from paigeant_redis.dial import Dialer
from paigeant_redis.settings import RedisSettings
from paigeant_redis.transport import RedisTransport
from rig.brokers import RedisServer
from rig.ports import HOST, free_port

from .redis_kit import SentinelServer, repeat

pytestmark = pytest.mark.slow
PATIENCE = 60.0


def ask(server: RedisServer, *command: object) -> Any:
    with redis.Redis(host=server.host, port=server.port, protocol=2) as client:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]


def healthy(node: RedisServer) -> bool:
    info: bytes = ask(node, "CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_known_nodes:4" in info


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.05)


async def work_through_a_failover(settings: RedisSettings, primary: RedisServer) -> None:
    """Publish and settle all the while; what was acknowledged before the kill had time to reach the replica."""
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=5.0) as consumer:
        store = transport.state_store()
        await transport.publish(*(Publication("work", Message(f"m-{n}", b"body")) for n in range(50)))
        await store.put("a", b"one")
        (held,) = await consumer.receive(1)
        await until(lambda: ask(primary, "WAIT", 1, 5000) >= 1)
        primary.kill()
        seen = {held.message.id}
        await repeat(lambda: transport.publish(Publication("work", Message("m-50", b"body"))), PATIENCE)
        await repeat(lambda: held.settle(writes=[Write("b", b"two")]), PATIENCE)
        entry = await store.get("a")
        assert entry is not None and entry.value == b"one"
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 51:
                for delivery in await consumer.receive(20):
                    seen.add(delivery.message.id)
                    await delivery.settle()
        assert {"mode"}.isdisjoint(finding.subject for finding in await transport.diagnose())


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer(tmp_path / "primary"))
        config = {"replicaof": f"{HOST} {primary.port}"}
        replica = stack.enter_context(RedisServer(tmp_path / "replica", config=config))
        yield (
            primary,
            replica,
            stack.enter_context(SentinelServer(tmp_path / "sentinel", config={"watch": str(primary.port)})),
        )


async def test_sentinel_leads_to_the_new_primary(replicated: tuple[RedisServer, RedisServer, RedisServer]) -> None:
    primary, replica, sentinel = replicated
    await until(lambda: ask(replica, "ROLE")[3] == b"connected")
    await until(lambda: len(ask(sentinel, "SENTINEL", "REPLICAS", "mymaster")) == 1)
    url = f"redis://{HOST}:1,{HOST}:{sentinel.port}/0"  # the first Sentinel is down
    settings = RedisSettings(url=url, mode="sentinel", timeout=2.0, connect_timeout=3.0)
    await work_through_a_failover(settings, primary)


async def test_an_unknown_service_is_named(replicated: tuple[RedisServer, RedisServer, RedisServer]) -> None:
    sentinel = replicated[2]
    settings = RedisSettings(url=f"redis://{HOST}:{sentinel.port}", mode="sentinel", service="other")
    with pytest.raises(BackendUnavailable, match=r"'other'.*PAIGEANT_REDIS_SERVICE"):
        await RedisTransport(settings).connect()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Three primaries with all slots, and an empty fourth node."""
    with ExitStack() as stack:
        nodes: list[RedisServer] = []
        for number in range(4):
            config = {
                "cluster-enabled": "yes",
                "cluster-port": str(free_port()),
                "cluster-node-timeout": "1000",
                "cluster-replica-validity-factor": "0",
            }
            nodes.append(stack.enter_context(RedisServer(tmp_path / f"node{number}", config=config)))
        for number, node in enumerate(nodes[:3]):
            ask(node, "CLUSTER", "ADDSLOTSRANGE", number * 5461, 16383 if number == 2 else number * 5461 + 5460)
        for node in nodes[1:]:
            ask(nodes[0], "CLUSTER", "MEET", HOST, node.port, node.config["cluster-port"])
        yield nodes


async def test_a_cluster_fails_over_under_a_namespace(cluster: list[RedisServer]) -> None:
    await until(lambda: all(healthy(node) for node in cluster))
    settings = RedisSettings(
        url=f"redis://{HOST}:{cluster[0].port},{HOST}:{cluster[1].port}",
        mode="cluster",
        timeout=2.0,
        connect_timeout=3.0,
    )
    dialer = Dialer(settings)
    await (await dialer.dial()).disconnect()
    primary = next(node for node in cluster if node.port == dialer.address.port)
    name = ask(primary, "CLUSTER", "MYID").decode()
    await until(lambda: name in str(ask(cluster[3], "CLUSTER", "NODES")))
    ask(cluster[3], "CLUSTER", "REPLICATE", name)
    await until(lambda: ask(cluster[3], "ROLE")[3] == b"connected")
    await work_through_a_failover(settings, primary)


def move(slot: int, source: RedisServer, target: RedisServer) -> None:
    """As an operator rebalances a cluster."""
    names = [ask(node, "CLUSTER", "MYID").decode() for node in (source, target)]
    ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
    ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
    while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
        ask(source, "MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
    for node in (target, source):
        ask(node, "CLUSTER", "SETSLOT", slot, "NODE", names[1])


async def test_watchers_follow_their_slot_to_another_node(cluster: list[RedisServer]) -> None:
    await until(lambda: all(healthy(node) for node in cluster))
    settings = RedisSettings(url=f"redis://{HOST}:{cluster[0].port}", mode="cluster", connect_timeout=PATIENCE)
    async with RedisTransport(settings) as transport:
        server, store = transport._link.server(), transport.state_store()
        with server.watches.watching("a") as watch:
            assert await watch.news(PATIENCE) == b""  # the subscription stands
            source = next(node for node in cluster if node.port == server.dialer.address.port)
            await asyncio.to_thread(move, key_slot(server.prefix.encode()), source, cluster[3])
            async with asyncio.timeout(PATIENCE):
                while not (await watch.news(0.1)).endswith(b"value"):
                    await repeat(lambda: store.put("a", b"value"), PATIENCE)
        assert server.dialer.address.port == cluster[3].port


async def test_a_cluster_used_as_a_single_server_is_explained(cluster: list[RedisServer]) -> None:
    await until(lambda: all(healthy(node) for node in cluster))
    dialer = Dialer(RedisSettings(url=f"redis://{HOST}:{cluster[0].port}", mode="cluster"))
    await (await dialer.dial()).disconnect()
    owner = dialer.address.port
    alone = RedisSettings(url=f"redis://{HOST}:{owner}")
    async with RedisTransport(alone) as transport:
        assert "mode" in {finding.subject for finding in await transport.diagnose()}
    single = RedisSettings(url=cluster[0].url, mode="cluster", db=1)
    with pytest.raises(ConfigurationError, match="database 0"):
        RedisTransport(single)


async def test_a_single_server_used_as_a_cluster_is_explained(own_redis: RedisServer) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_REDIS_MODE"):
        await RedisTransport(RedisSettings(url=own_redis.url, mode="cluster")).connect()
