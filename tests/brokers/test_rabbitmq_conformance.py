"""The conformance kit, on a real RabbitMQ."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paigeant.model.capabilities import Capabilities
from paigeant.testing import PluginSuite, TransportSuite
from paigeant_rabbitmq.settings import RabbitMQSettings
from paigeant_rabbitmq.transport import RabbitMQTransport

_QUORUM = Capabilities(
    durable=True, counts_deliveries=True, max_delay=None, max_message=16 * 1024 * 1024, persistent_queues=True
)


_URL = "CONFORMANCE_RABBITMQ_URL"
"""Variable that tells the kit's child processes, which import this file without fixtures."""


class TestRabbitMQTransport(TransportSuite):
    capabilities = _QUORUM

    @pytest.fixture(autouse=True)
    def _server(self, rabbit_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(_URL, rabbit_server.url)

    def make(self, tmp_path: Path) -> RabbitMQTransport:
        return RabbitMQTransport(RabbitMQSettings(url=os.environ[_URL], namespace=self.namespace))

    def make_unreachable(self, tmp_path: Path) -> RabbitMQTransport:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"amqp://127.0.0.1:{unused.getsockname()[1]}"
        return RabbitMQTransport(RabbitMQSettings(url=url, namespace=self.namespace))


@pytest.fixture(scope="module")
def newer_rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from rig import versions  # here, for the kit's child processes have no rig
    from rig.rabbit import RabbitServer

    directory = tmp_path_factory.mktemp("rabbitmq-4")
    with RabbitServer(directory, installation=versions.RABBIT["rabbitmq-4.0"]()) as server:
        yield server


@pytest.mark.external_service
class TestNewerRabbitMQTransport(TestRabbitMQTransport):
    """Other defaults: a delivery limit, messages of 16 MiB, what is given back comes first."""

    @pytest.fixture(autouse=True)
    def _server(self, newer_rabbit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(_URL, newer_rabbit.url)


class TestRabbitMQPlugin(PluginSuite):
    name = "rabbitmq"
    kinds = ("transport",)
    client_libraries = ("aio_pika", "aiormq", "pamqp")
    urls = ("amqp://broker/vhost", "amqps://user:secret@a,b:5673/")
