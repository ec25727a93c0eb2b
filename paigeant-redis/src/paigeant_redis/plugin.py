"""Registers what this distribution brings. Imports no client library."""

from __future__ import annotations

from collections.abc import Iterator

from paigeant.abc import StateStore, Transport
from paigeant.plugins import StateStorePlugin, TransportPlugin, hookimpl

from .settings import RedisSettings

_SUMMARY = "Redis and Valkey: Streams as queues, and a state store on the same server"
_SCHEMES = ("redis", "rediss", "unix")


def make_transport(settings: RedisSettings) -> Transport:
    """The transport on the server that the settings name."""
    from .transport import RedisTransport

    return RedisTransport(settings)


def make_store(settings: RedisSettings) -> StateStore:
    """The store alone on the server that the settings name."""
    from .store import RedisStore

    return RedisStore(settings)


@hookimpl
def paigeant_transports() -> Iterator[TransportPlugin[RedisSettings]]:
    """The transport."""
    yield TransportPlugin("redis", _SUMMARY, RedisSettings, make_transport, schemes=_SCHEMES)


@hookimpl
def paigeant_state_stores() -> Iterator[StateStorePlugin[RedisSettings]]:
    """The store alone, beside another transport."""
    yield StateStorePlugin("redis", _SUMMARY, RedisSettings, make_store, schemes=_SCHEMES)
