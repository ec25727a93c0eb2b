"""The kit finds what it is there to find: every double fails exactly the tests it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from paigeant.errors import ConfigurationError
from paigeant.model.message import QueueStats
from paigeant.testing.kit import Suite, cases
from paigeant.testing.rules import RULES

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


@pytest.mark.parametrize("subject", [*map(transport_subject, (ProxyTransport, CannotList)), store_subject(ProxyStore)])
def test_a_proxy_without_a_fault_passes(subject: type[Suite], tmp_path: Path) -> None:
    assert failing(subject, tmp_path) == {}


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
