"""Redis passes the kit that third parties use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from paigeant.model.capabilities import Capabilities
from paigeant.testing import PluginSuite, StateStoreSuite, TransportSuite
from paigeant_redis.settings import RedisSettings
from paigeant_redis.store import RedisStore
from paigeant_redis.transport import RedisTransport

_VARIABLE = "RIG_REDIS_URL"


@pytest.fixture(autouse=True)
def running(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells the suites, also in the processes they start, where the server is."""
    monkeypatch.setenv(_VARIABLE, redis_server.url)


def settings(namespace: str) -> RedisSettings:
    return RedisSettings(url=os.environ[_VARIABLE], namespace=namespace)


def unreachable(namespace: str) -> RedisSettings:
    return RedisSettings(url="redis://127.0.0.1:1", namespace=namespace)  # a port that nobody serves


class TestRedisTransport(TransportSuite):
    capabilities = Capabilities(
        durable=True,
        atomic_settle=True,
        atomic_writes=True,
        renewable=True,
        counts_deliveries=True,
        max_delay=None,
        max_message=16 * 1024 * 1024,
        persistent_queues=True,
    )

    def make(self, tmp_path: Path) -> RedisTransport:
        return RedisTransport(settings(self.namespace))

    def make_unreachable(self, tmp_path: Path) -> RedisTransport:
        return RedisTransport(unreachable(self.namespace))


class TestRedisStore(StateStoreSuite):
    capabilities = Capabilities(durable=True, max_message=16 * 1024 * 1024)

    def make(self, tmp_path: Path) -> RedisStore:
        return RedisStore(settings(self.namespace))

    def make_unreachable(self, tmp_path: Path) -> RedisStore:
        return RedisStore(unreachable(self.namespace))


class TestRedisPlugin(PluginSuite):
    name = "redis"
    kinds = ("transport", "state store")
    client_libraries = ("redis", "hiredis")
    urls = ("redis://localhost:1/0", "rediss://localhost:1")

    def environment(self, tmp_path: Path) -> dict[str, str]:
        return {"PAIGEANT_REDIS_URL": "redis://localhost:1/0"}
