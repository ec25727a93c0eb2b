"""Registers what this distribution brings. Imports no client library."""

from __future__ import annotations

from collections.abc import Iterator

from paigeant.abc import StateStore, Transport
from paigeant.plugins import StateStorePlugin, TransportPlugin, hookimpl

from .settings import NatsSettings

_SUMMARY = "NATS JetStream: work queues and a state store on one server or cluster"
_SCHEMES = ("nats", "tls")


def make_transport(settings: NatsSettings) -> Transport:
    """The transport."""
    from .transport import NatsTransport

    return NatsTransport(settings)


def make_store(settings: NatsSettings) -> StateStore:
    """The store alone, beside another transport."""
    from .store import NatsStore

    return NatsStore(settings)


@hookimpl
def paigeant_transports() -> Iterator[TransportPlugin[NatsSettings]]:
    """The transport."""
    yield TransportPlugin("nats", _SUMMARY, NatsSettings, make_transport, schemes=_SCHEMES)


@hookimpl
def paigeant_state_stores() -> Iterator[StateStorePlugin[NatsSettings]]:
    """The store."""
    yield StateStorePlugin("nats", _SUMMARY, NatsSettings, make_store, schemes=_SCHEMES)
