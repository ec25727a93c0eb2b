"""Private Redis, NATS and RabbitMQ servers."""

from __future__ import annotations

import json
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from rig import versions
from rig.packages import Installation
from rig.ports import HOST
from rig.rabbit import RabbitServer
from rig.server import BrokerError, Server

__all__ = ["BrokerError", "NatsServer", "RabbitServer", "RedisServer", "RunningServer", "Server"]

PROBING = 1.0
"""Seconds for a server to answer one question."""


class RedisServer(Server):
    """Redis or Valkey. ``config`` holds directives of ``redis.conf``; appends are fsynced every second by default."""

    name = "redis"

    @classmethod
    def install(cls) -> Installation:
        return versions.valkey()

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def environment(self) -> dict[str, str]:
        return {"PAIGEANT_TRANSPORT": "redis", "PAIGEANT_REDIS_URL": self.url}

    def _command(self) -> list[str]:
        directives = {
            "port": self.port,
            "bind": self.host,
            "dir": self.data,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "daemonize": "no",
            **self.config,
        }
        file = self.directory / "redis.conf"
        file.write_text("".join(f"{key} {value}\n" for key, value in directives.items()))
        return [str(self.installation.path), str(file)]

    def _answers(self) -> bool:
        with socket.create_connection((self.host, self.port), PROBING) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(100)
        return answer.startswith((b"+PONG", b"-NOAUTH"))  # and neither -LOADING nor -MASTERDOWN


class NatsServer(Server):
    """nats-server with JetStream. ``config`` is merged into its configuration, which may be written as JSON."""

    name = "nats"

    @classmethod
    def install(cls) -> Installation:
        return versions.nats()

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"PAIGEANT_TRANSPORT": "nats", "PAIGEANT_NATS_URL": self.url}

    def _command(self) -> list[str]:
        settings = {"host": self.host, "port": self.port, "jetstream": {"store_dir": str(self.data)}}
        file = self.directory / "nats.conf"
        file.write_text(json.dumps(_merged(settings, self.config), indent=1))
        return [str(self.installation.path), "--config", str(file)]

    def _answers(self) -> bool:
        with socket.create_connection((self.host, self.port), PROBING) as connection:
            return connection.recv(5) == b"INFO "


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` wins; tables are merged, and ``None`` removes a setting."""
    both = base | over
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            both[key] = _merged(base[key], over[key])
    return {key: value for key, value in both.items() if value is not None}


class RunningServer:
    """A server that somebody else runs and that no test may stop: only its address."""

    def __init__(self, transport: str, url: str) -> None:
        parts = urlsplit(url)
        self.url, self.host, self.port = url, parts.hostname or HOST, parts.port
        self.environment = {"PAIGEANT_TRANSPORT": transport, f"PAIGEANT_{transport.upper()}_URL": url}

    @classmethod
    def named(cls, transport: str) -> RunningServer | None:
        """The one that ``PAIGEANT_TEST_<TRANSPORT>_URL`` names."""
        url = os.environ.get(f"PAIGEANT_TEST_{transport.upper()}_URL")
        return cls(transport, url) if url else None
