"""Fake distributions, discovered for real: a ``dist-info`` and modules in a directory on ``sys.path``."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest


class Site:
    """A directory on ``sys.path`` into which distributions are "installed"."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: set[str] = set()

    def install(self, distribution: str, name: str, source: str, *, module: str = "", version: str = "1.2.3") -> str:
        """Install a distribution with one plugin; return the name of its module."""
        module = module or f"fake_{distribution}".replace("-", "_")
        self.module(module, source)
        self.metadata(distribution, f"[paigeant]\n{name} = {module}\n", version=version)
        return module

    def module(self, name: str, source: str) -> None:
        (self.root / f"{name}.py").write_text(textwrap.dedent(source))
        self.modules.add(name)

    def metadata(self, distribution: str, entry_points: str, *, version: str = "1.2.3") -> None:
        info = self.root / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points)

    def imported(self, module: str) -> bool:
        return module in sys.modules


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even those that the test run itself uses."""
    for name in [name for name in os.environ if name.upper().startswith("PAIGEANT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    installed = Site(root)
    yield installed
    for module in installed.modules:
        sys.modules.pop(module, None)


HEADER = """
from pathlib import Path
from paigeant.plugins import (
    ObserverPlugin, PluginSettings, SerializerPlugin, SignerPlugin, StateStorePlugin, TransportPlugin, hookimpl
)

class Codec:
    binary = False
    def __init__(self, settings):
        self.settings, self.media_type = settings, "application/x-acme"
    def encode(self, plain): return b""
    def decode(self, data): return None

"""

GOOD_CODEC = (
    HEADER
    + """
@hookimpl
def paigeant_serializers():
    yield SerializerPlugin("acme", "Acme's codec", PluginSettings, Codec)
"""
)


@pytest.fixture
def header() -> str:
    """Imports and a codec class, for the source of a fake plugin."""
    return HEADER


@pytest.fixture
def good_codec() -> str:
    """The source of a plugin that provides the serializer ``acme``."""
    return GOOD_CODEC
