"""Listing and selecting plugins stays cheap: no client library is imported before it is used."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

OURS = [entry for entry in entry_points(group="paigeant") if entry.dist and entry.dist.name == "paigeant-core"]


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", [entry.value for entry in OURS])
def test_plugin_module_imports_no_client_library(value) -> None:
    run(
        "import sys, importlib\n"
        f"importlib.import_module({value!r})\n"
        "found = {'sqlite3', 'msgpack', 'cryptography', 'joserfc'} & set(sys.modules)\n"
        "assert not found, found"
    )


def test_listing_imports_no_client_library() -> None:
    run(
        "import sys\n"
        "from paigeant.plugins import PluginRegistry\n"
        "rows = PluginRegistry().installed()\n"
        f"assert {{row.name for row in rows}} >= {{{', '.join(repr(entry.name) for entry in OURS)}}}, rows\n"
        "assert 'sqlite3' not in sys.modules and 'msgpack' not in sys.modules"
    )


def test_importing_paigeant_imports_no_plugin_machinery() -> None:
    run(
        "import sys, paigeant\n"
        "found = {'pluggy', 'pydantic_settings', 'sqlite3', 'paigeant.plugins'} & set(sys.modules)\n"
        "assert not found, found"
    )


def test_every_built_in_is_available() -> None:
    assert {entry.name for entry in OURS} == {"hs256", "inmemory", "json", "msgpack", "sqlite"}
    from paigeant.plugins import PluginRegistry

    rows = [row for row in PluginRegistry().installed() if row.distribution == "paigeant-core"]
    assert {row.name for row in rows} == {entry.name for entry in OURS}
    assert {row.status for row in rows} == {"available"}
    assert all(row.summary for row in rows)
