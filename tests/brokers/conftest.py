"""Brokers for the tests of this folder: shared ones for the session, and private ones that a test may kill.

A shared server serves many tests: each takes a namespace of its own. ``RIG_REDIS_URL``, ``_NATS_URL`` and
``_RABBITMQ_URL`` name servers to use instead of the shared ones; private ones are always the rig's.

What uses RabbitMQ is marked ``external_service`` here: no wheel holds it, and the rig takes it from Debian's packages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.brokers import NatsServer, RabbitServer, RedisServer, RunningServer, Server

RABBIT = {"rabbit_server", "own_rabbit"}


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and RABBIT & set(item.fixturenames):
            item.add_marker(pytest.mark.external_service)


def _shared(kind: type[Server], factory: pytest.TempPathFactory) -> Iterator[Server | RunningServer]:
    named = RunningServer.named(kind.name)
    if named is not None:
        yield named
        return
    with kind(factory.mktemp(kind.name)) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | RunningServer]:
    """A Redis-compatible server, shared."""
    yield from _shared(RedisServer, tmp_path_factory)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | RunningServer]:
    """A NATS server with JetStream, shared."""
    yield from _shared(NatsServer, tmp_path_factory)


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | RunningServer]:
    """A RabbitMQ server, shared."""
    yield from _shared(RabbitServer, tmp_path_factory)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A private Redis-compatible server, which the test may kill."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A private NATS server, which the test may kill."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def own_rabbit(tmp_path: Path) -> Iterator[RabbitServer]:
    """A private RabbitMQ, which the test may kill: some seconds to start."""
    with RabbitServer(tmp_path / "rabbitmq") as server:
        yield server
