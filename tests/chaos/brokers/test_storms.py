"""Workers killed and frozen, brokers killed, the network cut: every workflow ends, once.

Each broker with its own store (RabbitMQ: with Redis), with SQLite, and without one. ``PROOF=1`` runs every
combination with 300 workflows; otherwise each disturbance and each store meets each broker, with 30.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rig.proxy import Proxy

from . import disturbances
from .conftest import Servers
from .places import BROKERS, STORES, Place, Store, place
from .report import PROOF, seed
from .storm import make_storm

LEASE = 3.0
RESEND = 3.0
PACE = 0.1
WORKERS = 3 if PROOF else 2
WORKFLOWS = 300 if PROOF else 30
STRIKES = {"kills": 30, "freezes": 3, "outages": 3, "cuts": 2} if PROOF else dict.fromkeys(
    ("kills", "freezes", "outages", "cuts"), 1
) | {"kills": 3}
MATRIX: list[tuple[str, Store, str]] = [
    (broker, store, disturbance) for broker in BROKERS for store in STORES for disturbance in STRIKES
]
EXCERPT = [
    *(("own", "kills"), ("none", "kills"), ("own", "freezes"), ("sqlite", "outages"), ("none", "outages")),
    *(("own", "cuts"), ("none", "cuts")),
]


def chosen() -> list[Any]:
    return [pytest.param(*case, id="-".join(case)) for case in MATRIX if PROOF or case[1:] in EXCERPT]


@pytest.fixture
def settle_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Place], Place]:
    """Makes the settings of a place those of this process, too."""

    def settle(there: Place) -> Place:
        environment = {
            "PAIGEANT_NAMESPACE": f"storm-{secrets.token_hex(4)}",
            "PAIGEANT_LEASE": str(LEASE),
            "PAIGEANT_GRACE": "20",
            "XDG_STATE_HOME": str(tmp_path),
            "STORM_LEDGER": str(tmp_path / "ledger"),
            "STORM_PACE": str(PACE),
            "STORM_RESEND": str(RESEND),
            **there.environment,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("paigeant.state.transitions.RESEND_AFTER", RESEND)
        return there.with_settings(environment)

    return settle


@pytest.mark.timeout(1200 if PROOF else 300)
@pytest.mark.parametrize(("broker", "store", "disturbance"), chosen())
async def test_storm(
    broker: str, store: Store, disturbance: str, servers: Servers, beside: Any, settle_in: Any, tmp_path: Path
) -> None:
    server = servers(broker)
    there = place(broker, store, server, tmp_path, beside=beside() if broker == "rabbitmq" else None)
    with ExitStack() as stack:
        disturb: Any = disturbances.kills
        if disturbance == "freezes":
            disturb = disturbances.freezes(LEASE)
        elif disturbance == "outages":
            disturb = disturbances.outages(server)
        elif disturbance == "cuts":
            proxy = stack.enter_context(Proxy(server.host, server.port))
            there, disturb = there.moved(proxy.port), disturbances.cuts(proxy)
        storm = make_storm(
            settle_in(there),
            tmp_path,
            name=f"{broker}-{store}-{disturbance}",
            workflows=WORKFLOWS,
            strikes=STRIKES[disturbance],
            seed=seed(),
            workers=WORKERS,
        )
        stack.callback(storm.close)
        await storm.run(disturb)
