"""RabbitMQ nodes that joined each other: quorum queues have a member on each of three."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rig.clusters.base import Cluster
from rig.packages import Installation
from rig.rabbit import PortMapper, RabbitServer
from rig.server import BrokerError


class RabbitCluster(Cluster[RabbitServer]):
    """``size`` nodes; they share the port mapper, as nodes of one machine do.

    :param config: of each node.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        config: Mapping[str, Any] | None = None,
        installation: Installation | None = None,
    ) -> None:
        installation = installation or RabbitServer.install(False)
        self._mapper, self._formed = PortMapper(directory / "epmd", installation), False
        names = [f"rabbit{number}@localhost" for number in range(size)]
        self.nodes = [
            RabbitServer(
                directory / name,
                config=(_joining(names[0], name) if name != names[0] else {}) | dict(config or {}),
                installation=installation,
                mapper=self._mapper,
                node=name,
            )
            for name in names
        ]

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{','.join(f'{node.host}:{node.port}' for node in self.nodes)}/"

    def start(self) -> None:
        self._mapper.start()
        if not self._formed:
            self.nodes[0].start()  # for the others to join
        super().start()
        self._formed = True  # from now on they wait for each other

    def stop(self) -> None:
        super().stop()
        self._mapper.stop()

    def leader(self, queue: str, vhost: str = "/") -> RabbitServer:
        """The node that leads a quorum queue.

        :raises BrokerError: there is no such queue, or no leader now.
        """
        asked, *_ = self.running
        said = asked.control("list_queues", "-p", vhost, "name", "leader", "--formatter", "json")
        leaders = {found["name"]: found["leader"] for found in json.loads(said)}
        for node in self.running:
            if node.node == leaders.get(queue):
                return node
        raise BrokerError(f"no running node leads {queue!r} now; known queues: {leaders}")

    def _form(self) -> None:
        self.eventually(lambda: len(self._members()) == len(self.nodes), "one cluster")

    def _members(self) -> list[str]:
        """The nodes that run in the cluster of the first."""
        said = self.nodes[0].control("cluster_status", "--formatter", "json")
        return list(json.loads(said)["running_nodes"])


def _joining(first: str, name: str) -> dict[str, str]:
    """Settings of a node that joins the first when it starts without data."""
    formation = "cluster_formation"
    return {
        f"{formation}.peer_discovery_backend": "classic_config",
        f"{formation}.classic_config.nodes.1": first,
        f"{formation}.classic_config.nodes.2": name,
    }
