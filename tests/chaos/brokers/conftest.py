"""Storms on brokers. What needs RabbitMQ, or a version that no wheel brings, is marked ``external_service``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rig.brokers import RedisServer, Server

from .places import make_server

Servers: TypeAlias = Callable[[str], Server]


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.slow)
            if "rabbitmq" in item.name:
                item.add_marker(pytest.mark.external_service)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One server of each kind, running, which tests may break: it is mended for the next one."""
    running: dict[str, Server] = {}

    def running_server(broker: str) -> Server:
        if broker not in running:
            running[broker] = stack.enter_context(make_server(broker, tmp_path_factory.mktemp(broker)))
        running[broker].start()
        return running[broker]

    with ExitStack() as stack:
        yield running_server


@pytest.fixture(scope="session")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RedisServer]]:
    """The Redis that keeps the state of those that have no store of their own; nobody breaks it."""
    kept: list[Any] = []

    def state() -> RedisServer:
        if not kept:
            kept.append(stack.enter_context(RedisServer(tmp_path_factory.mktemp("state"))))
        return kept[0]  # type: ignore[no-any-return]

    with ExitStack() as stack:
        yield state
