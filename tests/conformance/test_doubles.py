"""The kit finds what it is there to find: every double fails exactly the tests it should."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from paigeant.abc import Consumer, Delivery
from paigeant.errors import ConfigurationError
from paigeant.model.message import Publication, QueueStats
from paigeant.model.store import Write
from paigeant.testing.kit import Suite, cases
from paigeant.testing.rules import RULES

from .doubles import transport_lifecycle
from .proxies import ProxyStore, ProxyTransport
from .subjects import SUBJECTS, expected, failing, pairs, store_subject, transport_subject

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # doubles leave a mess


@pytest.mark.parametrize(("kind", "subject"), [pytest.param(k, s, id=f"{k}-{s.__name__}") for k, s in pairs()])
def test_double_fails_exactly_what_it_should(kind: str, subject: type[Suite], tmp_path: Path) -> None:
    found = failing(subject, tmp_path)
    wanted = expected(kind)[subject.__name__]
    told = "\n".join(f"{name}: {exc}" for name, exc in found.items() if name not in wanted)
    assert set(found) == wanted, f"missed {sorted(wanted - set(found))}, also failed:\n{told}"


class CannotList(ProxyTransport):
    """And says so, which is no fault."""

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        if not names:
            raise ConfigurationError("name one")
        return await self.inner.queues(*names)


class SharesATask(ProxyTransport):
    """The first to connect begins a task that serves all instances of its event loop, which is no fault."""

    tasks: ClassVar[dict[asyncio.AbstractEventLoop, asyncio.Task[None]]] = {}

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        if loop not in self.tasks:
            self.tasks[loop] = loop.create_task(asyncio.sleep(1e6))
        await super().connect()


@pytest.mark.parametrize(
    "subject", [*map(transport_subject, (ProxyTransport, CannotList, SharesATask)), store_subject(ProxyStore)]
)
def test_a_proxy_without_a_fault_passes(subject: type[Suite], tmp_path: Path) -> None:
    assert failing(subject, tmp_path) == {}


def test_a_connect_that_never_ends_is_told_by_its_rule(tmp_path: Path) -> None:
    subject = transport_subject(transport_lifecycle.LeavesConnectsWaiting)
    told = failing(subject, tmp_path)["test_T02_disconnect_ends_a_connect_under_way"]
    assert "still waits after disconnect" in str(told)


class HasBadLuck(ProxyTransport):
    """Delays in whole seconds, and a coin that falls eleven times for the original before it falls for a clone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_clone, self.tosses = len(args) > 1, 0

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        while True:
            found = await consumer.receive(limit)
            self.tosses += 1
            if not self.is_clone or self.tosses % 12 == 0:
                return found
            await asyncio.gather(*(delivery.release() for delivery in found))
            await asyncio.sleep(0.01)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*(Publication(p.queue, p.message, ceil(p.delay)) for p in publications), writes=writes)

    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.release(ceil(delay))


def test_bad_luck_does_not_starve_a_consumer(tmp_path: Path) -> None:
    transport_subject(HasBadLuck)().test_T25_no_consumer_starves(tmp_path)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_no_double_is_left_over(kind: str) -> None:
    assert set(expected(kind)) == {subject.__name__ for subject in SUBJECTS[kind]}


@pytest.mark.parametrize("kind", SUBJECTS)
def test_every_conformance_test_can_fail(kind: str) -> None:
    tests = {name for name, case in cases(SUBJECTS[kind][0]).items() if not case.real}
    assert set().union(*expected(kind).values()) == tests


@pytest.mark.parametrize("kind", SUBJECTS)
def test_failures_say_rule_observation_and_way_out(kind: str, tmp_path: Path) -> None:
    for name, exc in failing(SUBJECTS[kind][0], tmp_path).items():
        rule, text = str(exc)[:3], str(exc)
        assert RULES[rule] in text, name
        assert "observed:" in text, name
        assert "way out:" in text, name
