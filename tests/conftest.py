"""Keeps every test apart from the machine it runs on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

KEPT = {"PAIGEANT_CONFORMANCE_REPORT"}


def pytest_configure() -> None:
    """Forget settings of the shell: a test sees only those it makes, and signals as on a terminal."""
    for name in [name for name in os.environ if name.startswith("PAIGEANT_") and name not in KEPT]:
        del os.environ[name]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Inherited from a shell that runs the tests in the background; processes under test must hear Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Development keys end with the tests, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory: no ``.env``, no ``paigeant.toml``, and no database left in the clone."""
    monkeypatch.chdir(tmp_path)
