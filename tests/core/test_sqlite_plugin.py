"""Settings and URLs of the SQLite plugin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paigeant.builtin.sqlite.plugin import SqliteSettings, make_store, make_transport
from paigeant.builtin.sqlite.store import SqliteStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import ConfigurationError
from paigeant.plugins import PluginRegistry


def path_of(settings: SqliteSettings) -> Path:
    transport = make_transport(settings)
    assert isinstance(transport, SqliteTransport)
    return transport.path


def test_the_default_is_a_file_per_namespace_below_the_working_directory(tmp_path: Path) -> None:
    assert path_of(SqliteSettings(namespace="shop")) == tmp_path / ".paigeant" / "shop.db"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:///with%20space/x.db", "/with space/x.db"),
        ("sqlite:///~/x.db", "home/x.db"),
    ],
)
def test_urls(tmp_path: Path, url: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert path_of(SqliteSettings(url=url)) == tmp_path / path


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://rel.db",
        "sqlite://host/x.db",
        "sqlite://user:s3cret@host/x.db",
        "sqlite:",
        "sqlite:rel.db",
        "sqlite:///x.db?mode=ro",
        "sqlite:///x#y",
        "redis:x",
    ],
)
def test_urls_that_would_be_misread(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///absolute/path\.db; a relative path goes into") as told:
        make_transport(SqliteSettings(url=url))
    assert "s3cret" not in str(told.value)


def test_the_home_directory_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PAIGEANT_SQLITE_PATH", "~/env.db")
    transport = PluginRegistry().transport("sqlite")
    assert isinstance(transport, SqliteTransport)
    assert transport.path == tmp_path / "home" / "env.db"
    with pytest.raises(ConfigurationError, match=r"'~nobody-here/x\.db': .*; write the directory in full"):
        make_transport(SqliteSettings(path=Path("~nobody-here/x.db")))


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_SQLITE_PATH", str(tmp_path / "env.db"))
    monkeypatch.setenv("PAIGEANT_SQLITE_SYNCHRONOUS", "NORMAL")
    registry = PluginRegistry()
    transport, store = registry.transport("sqlite"), registry.state_store("sqlite")
    assert isinstance(transport, SqliteTransport) and isinstance(store, SqliteStore)
    assert transport.path == store.path == tmp_path / "env.db"
    assert transport.clone()._database.synchronous == "NORMAL"
    monkeypatch.setenv("PAIGEANT_SQLITE_SYNCHRONOUS", "OFF")
    with pytest.raises(ConfigurationError, match="PAIGEANT_SQLITE_SYNCHRONOUS"):
        PluginRegistry().transport("sqlite")


def test_by_url_through_the_registry(tmp_path: Path) -> None:
    transport = PluginRegistry().transport(f"sqlite://{tmp_path}/by-url.db", namespace="shop")
    assert isinstance(transport, SqliteTransport)
    assert (transport.path, transport.namespace) == (tmp_path / "by-url.db", "shop")


def test_factories_do_no_io(tmp_path: Path) -> None:
    make_transport(SqliteSettings(path=tmp_path / "a" / "b.db"))
    make_store(SqliteSettings(path=tmp_path / "a" / "b.db"))
    assert list(tmp_path.iterdir()) == []


def test_the_plugin_module_does_not_import_sqlite3() -> None:
    code = "import paigeant.builtin.sqlite.plugin, sys; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
