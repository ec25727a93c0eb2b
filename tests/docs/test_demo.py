"""The demo is true, on every transport: a real worker dies by SIGKILL, and every step completes once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "examples" / "onboarding" / "demo.py"
TRANSPORTS = [
    "sqlite",
    "redis",
    "nats",
    pytest.param("rabbitmq", marks=pytest.mark.external_service),
]


def play(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    # What a worker says that finds another one dead, and nothing else.
    assert [line for line in done.stderr.splitlines() if not line.endswith("is gone; taking it over")] == []
    for line in ("killed with SIGKILL", "workflow completed", "1 account, 1 notification", "no step completed twice"):
        assert line in done.stdout


@pytest.mark.slow
def test_demo() -> None:
    check(play(str(DEMO)))


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_demo_on_a_broker_of_its_own(transport: str) -> None:
    """As ``make demo TRANSPORT=...``."""
    check(play("-m", "rig", transport, "--", sys.executable, str(DEMO)))
