"""NATS passes the kit that third parties use: as it comes, and with the setting ``atomic``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from paigeant.model.capabilities import Capabilities
from paigeant.testing import PluginSuite, StateStoreSuite, TransportSuite
from paigeant_nats.codec import HEADROOM
from paigeant_nats.settings import NatsSettings
from paigeant_nats.store import NatsStore
from paigeant_nats.transport import NatsTransport
from paigeant_nats.values import OVERHEAD

_VARIABLE = "RIG_NATS_URL"
_MAX_PAYLOAD = 1024 * 1024


@pytest.fixture(autouse=True)
def running(nats_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells the suites, also in the processes they start, where the server is."""
    monkeypatch.setenv(_VARIABLE, nats_server.url)


def settings(namespace: str, **more: Any) -> NatsSettings:
    return NatsSettings(url=os.environ[_VARIABLE], namespace=namespace, **more)


def unreachable(namespace: str) -> NatsSettings:
    return NatsSettings(url="nats://127.0.0.1:1", namespace=namespace)  # a port that nobody serves


def capabilities(*, atomic: bool) -> Capabilities:
    return Capabilities(
        durable=True,
        atomic_settle=atomic,
        renewable=True,
        counts_deliveries=True,
        max_delay=None,
        max_message=_MAX_PAYLOAD - HEADROOM,
        dedup_window=120.0,
        persistent_queues=True,
    )


class TestNatsTransport(TransportSuite):
    capabilities = capabilities(atomic=False)

    def make(self, tmp_path: Path) -> NatsTransport:
        return NatsTransport(settings(self.namespace))

    def make_unreachable(self, tmp_path: Path) -> NatsTransport:
        return NatsTransport(unreachable(self.namespace))


class TestNatsAtomicTransport(TransportSuite):
    capabilities = capabilities(atomic=True)

    def make(self, tmp_path: Path) -> NatsTransport:
        return NatsTransport(settings(self.namespace, atomic=True))


class TestNatsStore(StateStoreSuite):
    capabilities = Capabilities(durable=True, persistent_queues=True, max_message=_MAX_PAYLOAD - HEADROOM - OVERHEAD)

    def make(self, tmp_path: Path) -> NatsStore:
        return NatsStore(settings(self.namespace))

    def make_unreachable(self, tmp_path: Path) -> NatsStore:
        return NatsStore(unreachable(self.namespace))


class TestNatsPlugin(PluginSuite):
    name = "nats"
    kinds = ("transport", "state store")
    client_libraries = ("nats",)
    urls = ("nats://localhost:1", "tls://a:1,b:2")

    def environment(self, tmp_path: Path) -> dict[str, str]:
        return {"PAIGEANT_NATS_URL": "nats://localhost:1"}
