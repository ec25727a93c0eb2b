"""The registry: from configured names to transports, stores, codecs, signers and observers."""

from __future__ import annotations

import inspect
import sys
import warnings
from abc import ABCMeta
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..abc import Observer, Serializer, Signer, StateStore, Transport, Verifier
from ..errors import ConfigurationError, PaigeantError, PaigeantWarning, PluginError, PluginLoadError
from ..model.names import KID
from .catalogue import Catalogue, PluginInfo
from .descriptors import (
    Descriptor,
    ObserverPlugin,
    SerializerPlugin,
    SignerPlugin,
    StateStorePlugin,
    TransportPlugin,
)
from .reference import Reference
from .settings import CoreSettings, PluginSettings, read_plugin_settings
from .sources import Scope, Sources
from .unknown import unknown_core, unknown_plugin

D = TypeVar("D", bound=Descriptor[Any, Any])
T = TypeVar("T")

# Bound once with their type argument: a bare generic class is "partially unknown" to type checkers,
# and ``TransportPlugin[Any]`` as an expression is no class at run time.
_TRANSPORT: type[TransportPlugin[Any]] = TransportPlugin
_STATE_STORE: type[StateStorePlugin[Any]] = StateStorePlugin
_SERIALIZER: type[SerializerPlugin[Any]] = SerializerPlugin
_SIGNER: type[SignerPlugin[Any]] = SignerPlugin
_OBSERVER: type[ObserverPlugin[Any]] = ObserverPlugin


class PluginRegistry:
    """Makes what the configuration names. Created and passed on; there is no global one.

    Every method that makes something raises ``PluginNotFound``, ``PluginConflictError``,
    ``PluginLoadError`` (all ``PluginError``) or, for its settings, ``ConfigurationError``.

    :param settings: ``None`` reads the environment, and warns once if it holds unknown settings.
    """

    def __init__(self, settings: CoreSettings | None = None) -> None:
        self.settings = settings or CoreSettings()
        self._sources = Sources.read()
        self._catalogue = Catalogue(self.settings)
        self._warned: set[str] = set()
        if settings is None:
            unknown = unknown_core(self._sources, CoreSettings.model_fields, self._catalogue.names())
            self._warn([*unknown, *self._catalogue.idle_blocks()])

    def transport(self, name: str | None = None, *, namespace: str | None = None) -> Transport:
        """A new, unconnected transport.

        :param name: plugin name, ``name:instance`` or URL; ``None`` is ``PAIGEANT_TRANSPORT``.
        :param namespace: ``None`` is ``PAIGEANT_NAMESPACE``.
        """
        text = name or self.settings.transport
        transport = self._make(_TRANSPORT, text, namespace)
        _check_backend("transport", text, transport, Transport, namespace or self.settings.namespace)
        return transport

    def state_store(self, name: str, *, namespace: str | None = None) -> StateStore:
        """A new, unconnected state store.

        :param name: plugin name, ``name:instance`` or URL.
        :param namespace: ``None`` is ``PAIGEANT_NAMESPACE``.
        """
        store = self._make(_STATE_STORE, name, namespace)
        _check_backend("state store", name, store, StateStore, namespace or self.settings.namespace)
        return store

    def serializers(self) -> list[Serializer]:
        """The active codecs, in the order of ``PAIGEANT_SERIALIZERS``."""
        codecs = [self._make(_SERIALIZER, name) for name in self.settings.serializers]
        types = [_check_codec(name, codec) for name, codec in zip(self.settings.serializers, codecs, strict=True)]
        _check_distinct("PAIGEANT_SERIALIZERS", "media type", types)
        return codecs

    def signers(
        self, *, namespace: str | None = None, default_key: Path | Literal["process"] | None = None
    ) -> tuple[list[Signer], list[Verifier]]:
        """Signers and verifiers of the active plugins, in the order of ``PAIGEANT_SIGNERS``.

        :param namespace: ``None`` is ``PAIGEANT_NAMESPACE``.
        :param default_key: what a plugin may use if no key is configured: a key file to be made on
            first use, a key of the process, or nothing.
        """
        signers: list[Signer] = []
        verifiers: list[Verifier] = []
        for name in self.settings.signers:
            made = self._make(_SIGNER, name, namespace, {"default_key": default_key})
            _check_pair(name, made)
            signers += made[0]
            verifiers += made[1]
        _check_distinct("PAIGEANT_SIGNERS", "signing key id", [one.kid for one in signers])
        _check_distinct("PAIGEANT_SIGNERS", "verifying key id", [one.kid for one in verifiers])
        return signers, verifiers

    def observers(self) -> list[Observer]:
        """The active observers, in the order of ``PAIGEANT_OBSERVERS``."""
        observers = [self._make(_OBSERVER, name) for name in self.settings.observers]
        for name, observer in zip(self.settings.observers, observers, strict=True):
            _check_observer(name, observer)
        return observers

    def installed(self) -> list[PluginInfo]:
        """All plugins there are, sorted; broken, blocked and conflicting ones with the reason."""
        return self._catalogue.rows()

    def init_keys(self, name: str, path: Path, *, namespace: str | None = None) -> None:
        """Let a signer plugin write new key material to ``path``.

        :raises PluginError: it cannot.
        :raises ConfigurationError: the path is taken or cannot be written.
        """
        descriptor, settings = self._prepare(_SIGNER, name, namespace, {"default_key": None})
        if descriptor.init is None:
            raise PluginError(f"signer {name!r} cannot make keys; use the tools of its provider")
        descriptor.init(settings, path)

    def _prepare(
        self, kind: type[D], text: str, namespace: str | None, offers: Mapping[str, object]
    ) -> tuple[D, PluginSettings]:
        """Find the plugin and fill its settings; ``offers`` go to those fields that exist."""
        reference = Reference.parse(text)
        if reference.name is None:
            descriptor = self._catalogue.select_scheme(kind, reference.scheme or "")
        else:
            descriptor = self._catalogue.select(kind, reference.name)
        cls: type[PluginSettings] = descriptor.settings
        values = {name: value for name, value in offers.items() if name in cls.model_fields}
        values["namespace"] = namespace or self.settings.namespace
        if reference.url is not None:
            values["url"] = reference.url
        scope = Scope.of(self._sources, descriptor.name, reference.instance)
        settings = read_plugin_settings(cls, scope, values)
        self._warn(unknown_plugin(scope, set(cls.model_fields) - {"namespace", *offers}, self._catalogue.names()))
        return descriptor, settings

    def _make(
        self,
        kind: type[Descriptor[Any, T]],
        text: str,
        namespace: str | None = None,
        offers: Mapping[str, object] | None = None,
    ) -> T:
        descriptor, settings = self._prepare(kind, text, namespace, offers or {})
        try:
            with redirect_stdout(sys.stderr):  # as when it is loaded: its imports are made here
                made = descriptor.factory(settings)
        except PaigeantError:
            raise
        except Exception as exc:
            # Its text may show a setting, and settings may be secret: the cause has it for those who look.
            raise PluginLoadError(
                f"{kind.kind} plugin {descriptor.name!r}: its factory raised {type(exc).__name__}, whose text may show "
                "a setting; see it with `paigeant --debug ...`"
            ) from exc
        if inspect.iscoroutine(made):
            made.close()
            raise PluginLoadError(
                f"{kind.kind} plugin {descriptor.name!r}: its factory is a coroutine function and must be a plain one; "
                "tell its author"
            )
        return made

    def _warn(self, unknown: Iterable[str]) -> None:
        new = [item for item in unknown if item not in self._warned]
        if new:
            self._warned.update(new)
            warnings.warn(f"unknown settings are ignored: {'; '.join(new)}", PaigeantWarning, stacklevel=4)


def _check_backend(kind: str, plugin: str, made: object, contract: ABCMeta, namespace: str) -> None:
    plugin = Reference.parse(plugin).shown
    if not isinstance(made, contract):
        raise _made_else(kind, plugin, made, f"a {contract.__name__} of paigeant.abc")
    used = getattr(made, "namespace", None)
    if used != namespace:
        raise PluginLoadError(
            f"{kind} plugin {plugin!r} does not honour settings.namespace: it uses {used!r}, not {namespace!r}"
        )


def _check_codec(plugin: str, codec: object) -> str:
    media_type = getattr(codec, "media_type", None)
    if not isinstance(media_type, str) or not hasattr(codec, "encode") or not hasattr(codec, "decode"):
        raise _made_else("serializer", Reference.parse(plugin).shown, codec, "one with media_type, encode and decode")
    return media_type


def _check_observer(plugin: str, observer: object) -> None:
    if not inspect.iscoroutinefunction(getattr(observer, "on_event", None)):
        expected = "one with `async def on_event(self, event)`"
        raise _made_else("observer", Reference.parse(plugin).shown, observer, expected)


def _made_else(kind: str, plugin: str, made: object, expected: str) -> PluginLoadError:
    return PluginLoadError(
        f"{kind} plugin {plugin!r}: its factory made an object of type {type(made).__name__!r}, not {expected}; "
        "tell its author"
    )


def _check_pair(plugin: str, made: Any) -> None:
    """A signer plugin must have made ``(signers, verifiers)`` with well-formed key ids."""
    try:
        signers, verifiers = made
        keys: list[Any] = [*signers, *verifiers]
    except (TypeError, ValueError) as exc:
        raise PluginLoadError(
            f"signer plugin {plugin!r}: its factory must make (signers, verifiers), not an object of type "
            f"{type(made).__name__!r}; tell its author"
        ) from exc
    for key in keys:
        kid = getattr(key, "kid", None)
        if not isinstance(kid, str) or not KID.fullmatch(kid):
            raise PluginLoadError(f"signer plugin {plugin!r}: key id {kid!r} must match {KID.pattern}")


def _check_distinct(variable: str, what: str, values: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ConfigurationError(f"two plugins listed in {variable} have the {what} {value!r}; remove one of them")
