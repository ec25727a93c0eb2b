"""Where a storm takes place: a broker, a store, and the settings that make every timeout short."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.request import urlopen

from rig.brokers import NatsServer, RabbitServer, RedisServer, Server
from rig.clusters.redis import client
from rig.ports import HOST, free_port

Store: TypeAlias = Literal["own", "sqlite", "none"]
BROKERS = ("redis", "rabbitmq", "nats")
STORES: tuple[Store, ...] = ("own", "sqlite", "none")

SHORT: Mapping[str, Mapping[str, str]] = {
    "redis": {"PAIGEANT_REDIS_TIMEOUT": "1", "PAIGEANT_REDIS_CONNECT_TIMEOUT": "1"},
    "rabbitmq": {
        "PAIGEANT_RABBITMQ_HEARTBEAT": "1",
        "PAIGEANT_RABBITMQ_TIMEOUT": "2",
        "PAIGEANT_RABBITMQ_CONNECT_TIMEOUT": "2",
    },
    "nats": {"PAIGEANT_NATS_TIMEOUT": "1", "PAIGEANT_NATS_CONNECT_TIMEOUT": "1"},
}
LONGEST = 4.0
"""Seconds after which every timeout above has struck, and every heartbeat was missed."""


@dataclass(frozen=True)
class Place:
    """One broker and one store.

    :param environment: settings for whoever works here.
    :param server: the broker, for who breaks it.
    :param remaining: messages of a namespace that the broker itself counts, where the transport cannot count all.
    :param connections: client connections that the broker itself counts.
    """

    broker: str
    store: Store
    server: Any
    environment: Mapping[str, str]
    version: str
    remaining: Callable[[str], int] = lambda _namespace: 0
    connections: Callable[[], int] = lambda: 0

    def moved(self, port: int) -> Place:
        """The same, reached through another port."""
        name = f"PAIGEANT_{self.broker.upper()}_URL"
        url = self.environment[name].replace(f":{self.server.port}", f":{port}")
        return self.with_settings({name: url})

    def with_settings(self, more: Mapping[str, str]) -> Place:
        return replace(self, environment={**self.environment, **more})


def place(broker: str, store: Store, server: Server, directory: Path, *, beside: RedisServer | None = None) -> Place:
    """:param beside: the Redis that keeps the state where the broker has no store of its own."""
    kept: dict[str, str] = {}
    if store == "sqlite":
        kept = {"PAIGEANT_STATE_STORE": "sqlite", "PAIGEANT_SQLITE_PATH": str(directory / "state.db")}
    elif store == "none":
        kept = {"PAIGEANT_STATE_STORE": "none"}
    elif beside is not None:
        kept = {"PAIGEANT_STATE_STORE": beside.url, **SHORT["redis"]}
    return Place(
        broker,
        store,
        server,
        {**server.environment, **SHORT[broker], **kept},
        server.installation.version,
        **_counts(server),
    )


def _counts(server: Server) -> dict[str, Callable[..., int]]:
    if isinstance(server, RedisServer):
        return {"connections": lambda: _redis_connections(server)}
    if isinstance(server, RabbitServer):
        return {
            "connections": lambda: len(_rabbit(server, "list_connections", "pid")),
            "remaining": lambda namespace: sum(
                queue["messages"]
                for queue in _rabbit(server, "list_queues", "name", "messages")
                if namespace in queue["name"]
            ),
        }
    if isinstance(server, NatsServer):
        return {"connections": lambda: _nats_connections(server)}
    return {}


def _redis_connections(server: RedisServer) -> int:
    with client(server) as asked:
        return len(asked.client_list()) - 1


def _rabbit(server: RabbitServer, *question: str) -> list[dict[str, Any]]:
    return list(json.loads(server.control(*question, "--formatter", "json")))


def _nats_connections(server: NatsServer) -> int:
    with urlopen(f"http://{server.config['http']}/connz", timeout=5) as answer:
        return int(json.load(answer)["num_connections"])


def make_server(broker: str, directory: Path, **options: Any) -> Server:
    """Not started."""
    if broker == "nats":
        config = {"http": f"{HOST}:{free_port()}", **options.pop("config", {})}
        return NatsServer(directory, config=config, **options)
    if broker == "rabbitmq":  # its log is kept in memory until it has this size, 512 MiB by default: no soak gets there
        return RabbitServer(directory, config={"raft.wal_max_size_bytes": "16000000"}, **options)
    return RedisServer(directory, **options)
