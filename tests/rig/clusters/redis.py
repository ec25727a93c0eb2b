"""A Redis Cluster: masters that share the slots, each with as many replicas as wanted."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from rig.brokers import RedisServer
from rig.clusters.base import Cluster
from rig.packages import Installation
from rig.ports import free_port
from rig.server import BrokerError

SLOTS = 16384
ASKING = 2.0
"""Seconds for a node to answer."""
FAILING = 2000
"""Milliseconds after which a silent node counts as dead."""


@contextmanager
def client(server: RedisServer) -> Generator[Any]:
    """A client of one node, whose answers have no types; its errors are those of the rig."""
    asked = Redis(
        host=server.host, port=server.port, socket_timeout=ASKING, decode_responses=True, single_connection_client=True
    )
    try:
        with asked:
            yield asked
    except RedisError as failed:
        raise BrokerError(f"{server!r}: {failed}") from failed


class RedisCluster(Cluster[RedisServer]):
    """``masters`` with ``replicas`` each; the masters are the first nodes.

    :param config: directives of each node.
    """

    def __init__(
        self,
        directory: Path,
        masters: int = 3,
        *,
        replicas: int = 0,
        config: Mapping[str, Any] | None = None,
        installation: Installation | None = None,
    ) -> None:
        self._masters = masters
        self.nodes = [
            RedisServer(
                directory / f"node{number}",
                config={
                    "cluster-enabled": "yes",
                    "cluster-port": free_port(),
                    "cluster-node-timeout": FAILING,
                    **(config or {}),
                },
                installation=installation,
            )
            for number in range(masters * (1 + replicas))
        ]

    @property
    def url(self) -> str:
        return f"redis://{','.join(f'{node.host}:{node.port}' for node in self.nodes)}/0"

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PAIGEANT_REDIS_MODE": "cluster"}

    def leader(self, key: str) -> RedisServer:
        """The node that owns a key, such as ``{namespace}``.

        :raises BrokerError: none does now.
        """
        for node in self.running:
            with client(node) as asked:
                slot = int(asked.execute_command("CLUSTER KEYSLOT", key))
                owners = [master for first, last, master in _owners(asked) if first <= slot <= last]
            for owner in self.running:
                if owner.port in owners:
                    return owner
        raise BrokerError(f"no running node owns {key!r} now")

    def _form(self) -> None:
        first = self.nodes[0]
        with client(first) as asked:
            if asked.execute_command("CLUSTER INFO")["cluster_known_nodes"] == str(len(self.nodes)):
                return self._await()
            for node in self.nodes[1:]:
                asked.execute_command("CLUSTER MEET", node.host, node.port, node.config["cluster-port"])
        bounds = [SLOTS * number // self._masters for number in range(self._masters + 1)]
        for node, start, end in zip(self.nodes, bounds, bounds[1:], strict=False):
            with client(node) as asked:
                asked.execute_command("CLUSTER ADDSLOTSRANGE", start, end - 1)
        self.eventually(lambda: all(self._known(node) == len(self.nodes) for node in self.nodes), "acquainted")
        self._replicate()
        return self._await()

    def _await(self) -> None:
        self.eventually(lambda: all(self._ok(node) for node in self.nodes), "in order")

    def _replicate(self) -> None:
        for number, node in enumerate(self.nodes[self._masters :]):
            with client(self.nodes[number % self._masters]) as asked:
                master = asked.execute_command("CLUSTER MYID")
            with client(node) as asked:
                asked.execute_command("CLUSTER REPLICATE", master)

    def _known(self, node: RedisServer) -> int:
        with client(node) as asked:
            return int(asked.execute_command("CLUSTER INFO")["cluster_known_nodes"])

    def _ok(self, node: RedisServer) -> bool:
        with client(node) as asked:
            state = asked.execute_command("CLUSTER INFO")["cluster_state"]
            role = asked.execute_command("ROLE")
        return bool(state == "ok" and (role[0] == "master" or role[3] == "connected"))


def _owners(asked: Any) -> Iterator[tuple[int, int, int]]:
    """First slot, last slot and port of its master, as one node sees it."""
    for first, last, master, *_ in asked.execute_command("CLUSTER SLOTS"):
        yield first, last, master[1]
