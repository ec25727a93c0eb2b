"""The hooks. They only register: synchronous, no arguments, no I/O, each yields descriptors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from .descriptors import (
    Descriptor,
    ObserverPlugin,
    SerializerPlugin,
    SignerPlugin,
    StateStorePlugin,
    TransportPlugin,
)

PROJECT = "paigeant"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def paigeant_transports() -> Iterable[TransportPlugin[Any]]:
    """Yield the transport of this plugin.

    ::

        @hookimpl
        def paigeant_transports():
            yield TransportPlugin("maildir", "Maildir on disk", Settings, make)
    """
    return ()


@hookspec
def paigeant_state_stores() -> Iterable[StateStorePlugin[Any]]:
    """Yield the state store of this plugin.

    ::

        @hookimpl
        def paigeant_state_stores():
            yield StateStorePlugin("postgres", "PostgreSQL", Settings, make, schemes=("postgresql",))
    """
    return ()


@hookspec
def paigeant_serializers() -> Iterable[SerializerPlugin[Any]]:
    """Yield the codec of this plugin.

    ::

        @hookimpl
        def paigeant_serializers():
            yield SerializerPlugin("cbor", "CBOR (RFC 8949)", PluginSettings, lambda settings: CborCodec())
    """
    return ()


@hookspec
def paigeant_signers() -> Iterable[SignerPlugin[Any]]:
    """Yield the signer plugin: its factory returns signers and verifiers.

    ::

        @hookimpl
        def paigeant_signers():
            yield SignerPlugin("kms", "Co-signs with a KMS key", Settings, lambda settings: ([signer], [verifier]))
    """
    return ()


@hookspec
def paigeant_observers() -> Iterable[ObserverPlugin[Any]]:
    """Yield the observer of this plugin.

    ::

        @hookimpl
        def paigeant_observers():
            yield ObserverPlugin("audit", "Writes an audit file", Settings, make)
    """
    return ()


HOOKS: dict[str, type[Descriptor[Any, Any]]] = {
    "paigeant_transports": TransportPlugin,
    "paigeant_state_stores": StateStorePlugin,
    "paigeant_serializers": SerializerPlugin,
    "paigeant_signers": SignerPlugin,
    "paigeant_observers": ObserverPlugin,
}
"""Each hook and the descriptor it yields."""
