"""With a store, a step that takes longer than every timeout of the broker runs once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rig.rabbit import RabbitServer
from rig.server import Server

from .conftest import Servers, Stage
from .disturbances import nothing
from .places import BROKERS, STORES, Store, place
from .report import PROOF

LEASE = 1.5
"""Seconds: also the ack_wait of NATS, and the lease of a Redis stream's entry."""
PACE = 12.0 if PROOF else 4.0
"""Seconds; a step takes at least half of it."""
CONSUMER_TIMEOUT = 1500
"""Milliseconds, of RabbitMQ; looked at every half second."""


@contextmanager
def impatient(server: Server) -> Iterator[None]:
    """RabbitMQ closes the channel of who does not acknowledge in time; the others know the lease only."""
    if not isinstance(server, RabbitServer):
        yield
        return
    setting = (
        "application:set_env(rabbit, consumer_timeout, {}), application:set_env(rabbit, channel_tick_interval, {})."
    )
    server.control("eval", setting.format(CONSUMER_TIMEOUT, 500))
    try:
        yield
    finally:
        server.control("eval", setting.format(1_800_000, 60_000))


@pytest.mark.parametrize("store", STORES[:2] if PROOF else STORES[:1])
@pytest.mark.parametrize("broker", BROKERS)
async def test_runs_once(
    broker: str, store: Store, servers: Servers, beside: Any, stage: Stage, tmp_path: Path
) -> None:
    server = servers(broker)
    there = place(broker, store, server, tmp_path, beside=beside() if broker == "rabbitmq" else None)
    with impatient(server):
        storm = stage(there, f"{broker}-{store}-long-steps", workflows=5, pace=PACE, lease=LEASE)
        await storm.run(nothing, warm=False)
    assert storm.report.repeated == 0
