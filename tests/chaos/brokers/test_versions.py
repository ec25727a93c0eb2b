"""Other versions of each broker: they pass the kit that the newest passes, and survive a storm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rig import versions

from .conftest import Stage
from .disturbances import kills
from .fleet import ROOT
from .places import make_server, place
from .report import PROOF

OTHERS = {"redis": "redis-7.0", "nats": "nats-2.9", "rabbitmq": "rabbitmq-4.0"}
if PROOF:
    OTHERS |= {"redis 6 to 8": "redis-8.2", "valkey": "valkey-8.1", "nats 2.14": "nats-2.14"}
VERSIONS = [pytest.param(name.split("-")[0].replace("valkey", "redis"), name, id=name) for name in OTHERS.values()]

pytestmark = pytest.mark.external_service


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("broker", "version"), VERSIONS)
async def test_storm(broker: str, version: str, beside: Any, stage: Stage, tmp_path: Path) -> None:
    with make_server(broker, tmp_path / "server", installation=versions.ALL[version]()) as server:
        there = place(broker, "own", server, tmp_path, beside=beside() if broker == "rabbitmq" else None)
        workflows, strikes = (300, 30) if PROOF else (10, 1)
        await stage(there, f"{version}-own-kills", workflows=workflows, strikes=strikes).run(kills)


if PROOF:

    @pytest.mark.timeout(900)
    @pytest.mark.parametrize(("broker", "version"), VERSIONS)
    def test_conformance(broker: str, version: str, tmp_path: Path) -> None:
        suite = ROOT / "tests" / "brokers" / f"test_{broker}_conformance.py"
        with make_server(broker, tmp_path / "server", installation=versions.ALL[version]()) as server:
            environment = {**os.environ, f"PAIGEANT_TEST_{broker.upper()}_URL": server.url}
            command = [sys.executable, "-m", "pytest", str(suite), "-q", "-p", "no:cacheprovider"]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:]
