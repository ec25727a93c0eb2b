"""What a hook yields: frozen descriptions of the things a plugin can make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from ..abc import Observer, Serializer, Signer, StateStore, Transport, Verifier
from .settings import PluginSettings

S = TypeVar("S", bound=PluginSettings)
T = TypeVar("T")


@dataclass(frozen=True)
class Descriptor(Generic[S, T]):
    """Base of all descriptors; use one of the subclasses.

    :param name: the entry-point name, and the name used in configuration.
    :param summary: one line, shown by ``paigeant plugins``.
    :param settings: the class that is filled from ``PAIGEANT_<NAME>_*``, ``.env``, the secrets
        directory and the TOML table ``[<name>]``.
    :param factory: makes the object from its settings: synchronous, without I/O. It, and not the
        plugin module, imports the client library.
    """

    kind: ClassVar[str] = "plugin"

    name: str
    summary: str
    settings: type[S]
    factory: Callable[[S], T]


@dataclass(frozen=True)
class TransportPlugin(Descriptor[S, Transport], Generic[S]):
    """A transport.

    :param schemes: URL schemes it serves, for example ``("redis", "rediss")``; a URL given in place
        of a name arrives in ``settings.url``.
    """

    kind: ClassVar[str] = "transport"

    schemes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StateStorePlugin(Descriptor[S, StateStore], Generic[S]):
    """A state store.

    :param schemes: URL schemes it serves (see ``TransportPlugin``).
    """

    kind: ClassVar[str] = "state store"

    schemes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SerializerPlugin(Descriptor[S, Serializer], Generic[S]):
    """A codec of values. Active only if it is listed in ``PAIGEANT_SERIALIZERS``."""

    kind: ClassVar[str] = "serializer"


@dataclass(frozen=True)
class SignerPlugin(Descriptor[S, tuple[Sequence[Signer], Sequence[Verifier]]], Generic[S]):
    """Signers and verifiers. Active only if it is listed in ``PAIGEANT_SIGNERS``.

    If its settings have a field ``default_key``, the core fills it: the path of a key file to be
    made on first use, ``"process"`` for a key that lives as long as the process, or ``None``.

    :param init: writes new key material to a path (``paigeant keys init``), if the plugin can.
    """

    kind: ClassVar[str] = "signer"

    init: Callable[[S, Path], None] | None = None


@dataclass(frozen=True)
class ObserverPlugin(Descriptor[S, Observer], Generic[S]):
    """An observer of workflow events. Active only if it is listed in ``PAIGEANT_OBSERVERS``."""

    kind: ClassVar[str] = "observer"
