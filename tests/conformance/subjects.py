"""Suites for the doubles, and what each double fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paigeant.testing import SerializerSuite, SignerSuite, StateStoreSuite, TransportSuite
from paigeant.testing.kit import Suite, cases

from .doubles import (
    serializers,
    signers,
    store_lifecycle,
    store_listing,
    store_putting,
    store_watching,
    transport_inspecting,
    transport_lifecycle,
    transport_promises,
    transport_publishing,
    transport_receiving,
    transport_settling,
)
from .proxies import Proxy
from .virtual import VirtualLoop

EXPECTED = Path(__file__).parent / "expected"
TRANSPORTS = [
    transport_publishing,
    transport_receiving,
    transport_settling,
    transport_lifecycle,
    transport_inspecting,
    transport_promises,
]
STORES = [store_putting, store_listing, store_watching, store_lifecycle]


class _Backend:
    """What the suites for transports and for stores of doubles share."""

    double: Any
    namespace: str

    def make(self, tmp_path: Path) -> Any:
        return self.double(self.namespace)

    def make_unreachable(self, tmp_path: Path) -> Any:
        return self.double("unreachable") if getattr(self.double, "unreachable", False) else None

    def make_loop(self) -> VirtualLoop:
        return VirtualLoop()


def transport_subject(double: Any) -> type[TransportSuite]:
    return type(double.__name__, (_Backend, TransportSuite), {"double": double, "capabilities": double.declares})


def store_subject(double: Any) -> type[StateStoreSuite]:
    return type(double.__name__, (_Backend, StateStoreSuite), {"double": double, "capabilities": double.declares})


def serializer_subject(double: Any) -> type[SerializerSuite]:
    return type(double.__name__, (SerializerSuite,), {"make": lambda self, tmp_path: double()})


def signer_subject(double: Any) -> type[SignerSuite]:
    makes = {
        "make": lambda self, tmp_path: double.keys(),
        "make_unavailable": lambda self, tmp_path: double.unavailable(),
    }
    return type(double.__name__, (SignerSuite,), makes)


def doubles(modules: Iterable[ModuleType]) -> Iterator[type[Proxy[Any]]]:
    """Those that the modules define, in their order; names with an underscore are their helpers'."""
    for module in modules:
        for name, found in vars(module).items():
            mine = isinstance(found, type) and found.__module__ == module.__name__ and issubclass(found, Proxy)
            if mine and not name.startswith("_"):
                yield found


SUBJECTS: dict[str, list[type[Suite]]] = {
    "transport": [transport_subject(double) for double in doubles(TRANSPORTS)],
    "store": [store_subject(double) for double in doubles(STORES)],
    "serializer": [serializer_subject(double) for double in serializers.SERIALIZERS],
    "signer": [signer_subject(double) for double in signers.SIGNERS],
}
"""The doubles of each suite."""


def failing(subject: type[Suite], tmp_path: Path) -> dict[str, Exception]:
    """The tests that this subject fails, without those that need real time."""
    found: dict[str, Exception] = {}
    for name, case in cases(subject).items():
        if case.real:
            continue
        directory = tmp_path / name
        directory.mkdir()
        try:
            getattr(subject(), name)(directory)
        except pytest.skip.Exception:
            continue
        except Exception as exc:
            found[name] = exc
    return found


def expected(kind: str) -> dict[str, set[str]]:
    """What the doubles of one suite fail: a name, then a test on each indented line."""
    found: dict[str, set[str]] = {}
    for line in (EXPECTED / f"{kind}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            found[list(found)[-1]].add(line.strip())
        elif line:
            found[line] = set()
    return found


def pairs() -> Iterator[tuple[str, type[Suite]]]:
    """Each double with the kind of its suite."""
    return ((kind, subject) for kind, subjects in SUBJECTS.items() for subject in subjects)
