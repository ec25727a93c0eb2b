"""Storms on brokers. What needs RabbitMQ, or a version that no wheel brings, is marked ``external_service``."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest

from rig.brokers import RedisServer, Server

from .fleet import Fleet
from .ledger import Ledger
from .places import Place, make_server
from .report import Report, seed
from .storm import Storm

Servers: TypeAlias = Callable[[str], Server]
LEASE = 3.0
CONCURRENCY = 4
"""Steps at a time in one worker: few, so that there is always something left in the broker."""
RESEND = 3.0
"""Seconds after which a message that was not seen counts as lost: thirty outside of these tests."""


class Stage(Protocol):
    """Makes a storm at a place, and that place the one that this process is configured for.

    :param more: settings beyond those of the place.
    """

    def __call__(
        self,
        there: Place,
        name: str,
        *,
        workflows: int,
        strikes: int = 1,
        workers: int = 2,
        pace: float = 0.1,
        lease: float = LEASE,
        resend: float = RESEND,
        **more: str,
    ) -> Storm: ...


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


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    def make(
        there: Place,
        name: str,
        *,
        workflows: int,
        strikes: int = 1,
        workers: int = 2,
        pace: float = 0.1,
        lease: float = LEASE,
        resend: float = RESEND,
        **more: str,
    ) -> Storm:
        environment = {
            "PAIGEANT_NAMESPACE": f"storm-{secrets.token_hex(4)}",
            "PAIGEANT_LEASE": str(lease),
            "PAIGEANT_GRACE": "20",
            "PAIGEANT_CONCURRENCY": str(CONCURRENCY),
            "XDG_STATE_HOME": str(tmp_path),
            "STORM_LEDGER": str(tmp_path / "ledger"),
            "STORM_PACE": str(pace),
            "STORM_RESEND": str(resend),
            **there.environment,
            **more,
        }
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr("paigeant.state.transitions.RESEND_AFTER", resend)
        report = Report(name, there.broker, there.version, there.store, seed(), strikes=strikes)
        print(f"{name}: PROOF_SEED={report.seed}")
        chance, ledger = random.Random(report.seed), Ledger(tmp_path / "ledger")
        fleet = Fleet(workers, tmp_path, environment, ledger, chance)
        storm = Storm(there.with_settings(environment), fleet, ledger, report, workflows=workflows, chance=chance)
        stack.callback(storm.close)
        return storm

    with ExitStack() as stack:
        yield make
