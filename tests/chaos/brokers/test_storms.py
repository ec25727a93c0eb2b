"""Workers killed and frozen, brokers killed, the network cut, the data wiped: every workflow ends, once.

Each broker with its own store (RabbitMQ: with Redis), with SQLite, and without one. ``PROOF=1`` runs every
combination with 300 workflows; otherwise each disturbance and each store meets each broker, with 30.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rig.proxy import Proxy

from . import disturbances
from .conftest import LEASE, Servers, Stage
from .places import BROKERS, STORES, Store, place
from .report import PROOF

WORKERS = 3 if PROOF else 2
WORKFLOWS = 300 if PROOF else 30
STRIKES = {"kills": 3, "freezes": 1, "outages": 1, "cuts": 1, "wipes": 1}
if PROOF:
    STRIKES = {"kills": 30, "freezes": 3, "outages": 3, "cuts": 2, "wipes": 2}
EXCERPT = [
    *(("own", "kills"), ("own", "freezes"), ("sqlite", "outages"), ("none", "outages")),
    *(("none", "cuts"), ("sqlite", "wipes")),
]


def matrix() -> Iterator[tuple[str, Store, str]]:
    for broker in BROKERS:
        for store in STORES:
            for disturbance in STRIKES:
                # What is wiped may not be all there is.
                if disturbance != "wipes" or store == "sqlite" or (broker, store) == ("rabbitmq", "own"):
                    yield broker, store, disturbance


def chosen() -> list[Any]:
    return [pytest.param(*case, id="-".join(case)) for case in matrix() if PROOF or case[1:] in EXCERPT]


@pytest.mark.timeout(1200 if PROOF else 300)
@pytest.mark.parametrize(("broker", "store", "disturbance"), chosen())
async def test_storm(
    broker: str, store: Store, disturbance: str, servers: Servers, beside: Any, stage: Stage, tmp_path: Path
) -> None:
    server = servers(broker)
    there = place(broker, store, server, tmp_path, beside=beside() if broker == "rabbitmq" else None)
    with ExitStack() as stack:
        disturb: Any = disturbances.kills
        if disturbance == "freezes":
            disturb = disturbances.freezes(LEASE)
        elif disturbance == "outages":
            disturb = disturbances.outages(server)
        elif disturbance == "wipes":
            disturb = disturbances.wipes(server)
        elif disturbance == "cuts":
            proxy = stack.enter_context(Proxy(server.host, server.port))
            there, disturb = there.moved(proxy.port), disturbances.cuts(proxy)
        name, strikes = f"{broker}-{store}-{disturbance}", STRIKES[disturbance]
        pace = 0.3 if disturbance == "wipes" else 0.1  # slow workers leave something to wipe
        await stage(there, name, workflows=WORKFLOWS, strikes=strikes, workers=WORKERS, pace=pace).run(disturb)
