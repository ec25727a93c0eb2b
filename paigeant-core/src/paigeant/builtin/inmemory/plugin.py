"""Registers the in-memory transport and store."""

from __future__ import annotations

from collections.abc import Iterator

from ...abc.store import StateStore
from ...abc.transport import Transport
from ...plugins import PluginSettings, StateStorePlugin, TransportPlugin, hookimpl

_SUMMARY = "In the memory of this process: for tests and trials; nothing survives it"


class InMemorySettings(PluginSettings):
    """``PAIGEANT_INMEMORY_URL``: which of the process-wide brokers to join."""

    url: str | None = "inmemory://default"


def make_transport(settings: InMemorySettings) -> Transport:
    """A transport on the broker that ``settings.url`` names."""
    from .transport import InMemoryTransport

    return InMemoryTransport(settings.url or "inmemory://default", namespace=settings.namespace)


def make_store(settings: InMemorySettings) -> StateStore:
    """A store on the broker that ``settings.url`` names."""
    from .store import InMemoryStore

    return InMemoryStore(settings.url or "inmemory://default", namespace=settings.namespace)


@hookimpl
def paigeant_transports() -> Iterator[TransportPlugin[InMemorySettings]]:
    """The transport."""
    yield TransportPlugin("inmemory", _SUMMARY, InMemorySettings, make_transport, schemes=("inmemory",))


@hookimpl
def paigeant_state_stores() -> Iterator[StateStorePlugin[InMemorySettings]]:
    """The store alone, beside another transport."""
    yield StateStorePlugin("inmemory", _SUMMARY, InMemorySettings, make_store, schemes=("inmemory",))
