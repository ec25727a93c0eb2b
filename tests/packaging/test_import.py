"""What importing costs: which modules it pulls in. Times are measured in tests/benchmarks/."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("pluggy", "pydantic_settings", "sqlite3", "typer", "rich", "pydantic_ai", "msgpack", "importlib.metadata")


def imported_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_import_leaves_plugins_settings_and_clients_out() -> None:
    before = imported_by("import asyncio; from pydantic import BaseModel")
    assert not (imported_by("import paigeant") - before) & set(HEAVY)


@pytest.mark.parametrize("module", ["paigeant.model.records", "paigeant.abc", "paigeant.errors"])
def test_contracts_import_nothing_above_them(module: str) -> None:
    ours = {name for name in imported_by(f"import {module}") if name.startswith("paigeant.")}
    assert {name.split(".")[1] for name in ours} <= {"abc", "model", "errors", "durations"}
