"""The demo is true: a real worker dies by SIGKILL, and every step completes once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "docs" / "examples" / "onboarding" / "demo.py"


@pytest.mark.slow
def test_demo() -> None:
    done = subprocess.run([sys.executable, str(DEMO)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for line in ("killed with SIGKILL", "workflow completed", "1 account, 1 notification", "no step completed twice"):
        assert line in done.stdout
