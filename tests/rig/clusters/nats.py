"""NATS servers with routes to each other: streams may have as many replicas as there are nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from rig.brokers import NatsServer
from rig.clusters.base import Cluster
from rig.packages import Installation
from rig.ports import HOST, free_port
from rig.server import BrokerError

ASKING = 2.0
"""Seconds for a node to answer a question on its state."""


class NatsCluster(Cluster[NatsServer]):
    """``size`` nodes with JetStream.

    :param config: merged into that of each node.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        config: Mapping[str, Any] | None = None,
        installation: Installation | None = None,
    ) -> None:
        names = [f"node{number}" for number in range(size)]
        routes = {name: free_port() for name in names}
        self._monitors = {name: free_port() for name in names}
        self.nodes = [
            NatsServer(
                directory / name, config=self._config(name, routes) | dict(config or {}), installation=installation
            )
            for name in names
        ]

    def _config(self, name: str, routes: Mapping[str, int]) -> dict[str, Any]:
        return {
            "server_name": name,
            "http": f"{HOST}:{self._monitors[name]}",
            "cluster": {
                "name": "rig",
                "host": HOST,
                "port": routes[name],
                "routes": [f"nats://{HOST}:{port}" for other, port in routes.items() if other != name],
            },
        }

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    def leader(self, stream: str | None = None) -> NatsServer:
        """The node that leads a stream; without one, the node that leads the cluster and places streams.

        :raises BrokerError: there is none now.
        """
        for node in self.running:
            for name in self._leaders(node, stream):
                for led in self.running:
                    if led.config["server_name"] == name:
                        return led
        raise BrokerError(f"no running node leads {stream or 'the cluster'} now")

    def _form(self) -> None:
        self.eventually(self._formed, "one cluster with a leader")

    def _formed(self) -> bool:
        self.leader()
        return all(self._ask(node, "healthz").get("status") == "ok" for node in self.nodes)

    def _leaders(self, node: NatsServer, stream: str | None) -> Iterator[str]:
        """Who leads, as this node sees it."""
        try:
            state = self._ask(node, "jsz", accounts="true", streams="true")
        except OSError:
            return
        if stream is None:
            yield state.get("meta_cluster", {}).get("leader", "")
            return
        for account in state.get("account_details", ()):
            for detail in account.get("stream_detail", ()):
                if detail["name"] == stream:
                    yield detail.get("cluster", {}).get("leader", "")

    def _ask(self, node: NatsServer, what: str, **options: str) -> dict[str, Any]:
        port = self._monitors[node.config["server_name"]]
        with urlopen(f"http://{HOST}:{port}/{what}?{urlencode(options)}", timeout=ASKING) as answer:
            said: dict[str, Any] = json.load(answer)
        return said
