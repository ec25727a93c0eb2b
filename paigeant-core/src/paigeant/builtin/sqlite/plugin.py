"""Registers the SQLite transport and store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from ...abc.store import StateStore
from ...abc.transport import Transport
from ...errors import ConfigurationError
from ...plugins import PluginSettings, StateStorePlugin, TransportPlugin, hookimpl, split_url

_SUMMARY = "A file on this machine: durable, for any number of processes, without a server"


class SqliteSettings(PluginSettings):
    """``PAIGEANT_SQLITE_PATH``: the file. ``PAIGEANT_SQLITE_SYNCHRONOUS``: ``FULL`` or ``NORMAL``.

    A URL is another way to name the file: ``sqlite:///absolute/path.db``. Relative
    paths go into ``PAIGEANT_SQLITE_PATH``. ``~`` is the home directory in both.
    """

    path: Path | None = None
    synchronous: Literal["FULL", "NORMAL"] = "FULL"

    @property
    def file(self) -> Path:
        """The file, by default ``./.paigeant/<namespace>.db``."""
        if self.url is not None:
            return _home(_file_of(self.url))
        return _home(self.path or Path(".paigeant", f"{self.namespace}.db"))


def _file_of(url: str) -> Path:
    parts = split_url(url)
    if parts.scheme != "sqlite" or parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ConfigurationError(
            "a SQLite URL must be sqlite:///absolute/path.db; a relative path goes into PAIGEANT_SQLITE_PATH"
        )
    path = unquote(parts.path)
    return Path(path[1:] if path.startswith("/~") else path)


def _home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise ConfigurationError(f"the SQLite file {str(path)!r}: {exc}; write the directory in full") from exc


def _arguments(settings: SqliteSettings) -> dict[str, Any]:
    return {"path": settings.file, "namespace": settings.namespace, "synchronous": settings.synchronous}


def make_transport(settings: SqliteSettings) -> Transport:
    """The transport on ``settings.file``."""
    from .transport import SqliteTransport

    return SqliteTransport(**_arguments(settings))


def make_store(settings: SqliteSettings) -> StateStore:
    """The store on ``settings.file``."""
    from .store import SqliteStore

    return SqliteStore(**_arguments(settings))


@hookimpl
def paigeant_transports() -> Iterator[TransportPlugin[SqliteSettings]]:
    """The transport."""
    yield TransportPlugin("sqlite", _SUMMARY, SqliteSettings, make_transport, schemes=("sqlite",))


@hookimpl
def paigeant_state_stores() -> Iterator[StateStorePlugin[SqliteSettings]]:
    """The store alone, beside another transport."""
    yield StateStorePlugin("sqlite", _SUMMARY, SqliteSettings, make_store, schemes=("sqlite",))
