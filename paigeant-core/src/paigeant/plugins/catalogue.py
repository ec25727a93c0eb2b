"""Which plugins there are, and what became of them: found, blocked, in conflict, loaded or broken."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from ..errors import PaigeantWarning, PluginConflictError, PluginError, PluginLoadError, PluginNotFound
from .descriptors import Descriptor, StateStorePlugin
from .discovery import FoundPlugin, PluginLoadFailure, discover
from .loading import LoadedPlugin, Loader
from .reference import Reference
from .settings import CoreSettings
from .sources import with_hint

D = TypeVar("D", bound=Descriptor[Any, Any])
Status: TypeAlias = Literal["available", "broken", "blocked", "conflict"]

FIRST_PARTY = {
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "nats": "nats",
    "rabbitmq": "rabbitmq",
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
}
"""Names and URL schemes of our own distributions, and the extra that installs each."""

OURS = {"paigeant-core", *(f"paigeant-{extra}" for extra in FIRST_PARTY.values())}
"""Our own distributions."""
STORES = "; state stores are redis://HOST:6379, nats://HOST:4222, and sqlite for one machine"

UNKNOWN_KIND = "unknown"


@dataclass(frozen=True)
class PluginInfo:
    """One row of ``paigeant plugins``.

    :param kind: ``transport``, ``state store``, ``serializer``, ``signer`` or ``observer``; ``unknown``
        for a plugin that was not loaded.
    :param error: why its status is not ``available``; else empty.
    """

    kind: str
    name: str
    summary: str
    distribution: str
    version: str
    status: Status
    error: str = ""


class Catalogue:
    """The plugins of this environment. A plugin is loaded when it is asked for by name; all of them
    only when a name or URL scheme is unknown, or for the list.

    :param settings: ``strict_plugins``, ``disable_plugin_autoload``, ``block_plugins`` and the names
        that count as asked for.
    """

    def __init__(self, settings: CoreSettings) -> None:
        self._strict = settings.strict_plugins
        self._autoload = not settings.disable_plugin_autoload
        self._blocked = frozenset(settings.block_plugins)
        self._asked_for = set(_named_in(settings))
        self._loader = Loader()
        self._outcomes: dict[str, LoadedPlugin | PluginLoadFailure] = {}
        self._reported: set[FoundPlugin] = set()
        self._found, self._unreadable = discover()

    def names(self) -> list[str]:
        """The names of all plugins, from metadata alone."""
        return sorted({found.name for found in self._found})

    def idle_blocks(self) -> Iterator[str]:
        """What ``block_plugins`` lists in vain: most often a misspelt name, whose plugin is not blocked."""
        everything = [*self._found, *(failure.found for failure in self._unreadable)]
        known = {found.name for found in everything} | {found.distribution for found in everything}
        for name in sorted(self._blocked - known):
            yield f"{with_hint(name, known)} in PAIGEANT_BLOCK_PLUGINS"

    def select(self, kind: type[D], name: str) -> D:
        """The descriptor of that kind and name.

        :raises PluginNotFound: not installed, or it has nothing of that kind.
        :raises PluginError: it is blocked.
        :raises PluginConflictError: two distributions provide it.
        :raises PluginLoadError: it is broken (or, if strict, any plugin is).
        """
        self._asked_for.add(name)
        if self._strict:
            self._load_all()
        found = self._one(name)
        if found is None:
            raise self._not_found(kind, name)
        loaded = self._load(found)
        if isinstance(loaded, PluginLoadFailure):
            raise _load_error(loaded) from loaded.error
        descriptor = loaded.descriptor(kind)
        if descriptor is None:
            has = ", ".join(sorted(other.kind for other in loaded.descriptors))
            instead = STORES if kind is StateStorePlugin else ""
            raise PluginNotFound(f"plugin {name!r} ({found.origin}) has no {kind.kind}, only: {has}{instead}")
        return descriptor

    def select_scheme(self, kind: type[D], scheme: str) -> D:
        """The descriptor of that kind that serves URLs of ``scheme``: the plugin of that name, else
        the only other one.

        :raises PluginError: as ``select``.
        """
        if scheme in self.names():
            own = self.select(kind, scheme)
            if scheme in vars(own).get("schemes", ()):
                return own
        self._load_all()
        loaded = [one for one in self._loaded() if scheme in _schemes(one, kind)]
        if len(loaded) > 1:
            raise _conflict(f"URL scheme {scheme!r}", [one.found for one in loaded])
        for one in loaded:
            return self.select(kind, one.found.name)
        raise self._not_found(kind, scheme, is_scheme=True)

    def rows(self) -> list[PluginInfo]:
        """What ``paigeant plugins`` shows, sorted. Loads everything it may; never raises, never warns."""
        broken = [_row(failure.found, "broken", failure.reason) for failure in self._unreadable]
        return sorted(
            [*broken, *(row for found in self._found for row in self._rows_of(found))],
            key=lambda row: (row.kind, row.name, row.distribution),
        )

    def _rows_of(self, found: FoundPlugin) -> Iterator[PluginInfo]:
        if self._is_blocked(found):
            yield _row(found, "blocked", "listed in PAIGEANT_BLOCK_PLUGINS")
        elif len(rivals := self._candidates(found.name)) > 1:
            yield _row(found, "conflict", str(_conflict(f"plugin {found.name!r}", rivals)))
        elif not self._may_load(found.name):
            yield _row(found, "blocked", "PAIGEANT_DISABLE_PLUGIN_AUTOLOAD is set, and nothing names it")
        else:
            loaded = self._load(found)
            if isinstance(loaded, PluginLoadFailure):
                yield _row(found, "broken", loaded.reason)
            else:
                yield from (_row_of(found, one) for one in loaded.descriptors.values())

    def _candidates(self, name: str) -> list[FoundPlugin]:
        return [found for found in self._found if found.name == name and not self._is_blocked(found)]

    def _is_blocked(self, found: FoundPlugin) -> bool:
        return found.name in self._blocked or found.distribution in self._blocked

    def _may_load(self, name: str) -> bool:
        return self._autoload or name in self._asked_for

    def _one(self, name: str) -> FoundPlugin | None:
        """The one distribution that provides ``name``; conflicts are seen from metadata alone."""
        candidates = self._candidates(name)
        if len(candidates) > 1:
            raise _conflict(f"plugin {name!r}", candidates)
        if not candidates and name in self.names():
            raise PluginError(f"plugin {name!r} is listed in PAIGEANT_BLOCK_PLUGINS; remove it there to use it")
        return candidates[0] if candidates else None

    def _load(self, found: FoundPlugin) -> LoadedPlugin | PluginLoadFailure:
        if found.name not in self._outcomes:
            self._outcomes[found.name] = self._loader.load(found)
        return self._outcomes[found.name]

    def _loaded(self) -> list[LoadedPlugin]:
        return [one for one in self._outcomes.values() if isinstance(one, LoadedPlugin)]

    def _load_all(self) -> None:
        """Load whatever may be loaded; one warning per broken plugin, or its error if strict."""
        for failure in self._unreadable:
            self._report(failure)
        for name in filter(self._may_load, self.names()):
            candidates = self._candidates(name)
            if len(candidates) > 1:
                conflict = _conflict(f"plugin {name!r}", candidates)
                self._report(PluginLoadFailure(candidates[0], conflict))
            elif candidates and isinstance(outcome := self._load(candidates[0]), PluginLoadFailure):
                self._report(outcome)

    def _report(self, failure: PluginLoadFailure) -> None:
        if self._strict:
            if isinstance(failure.error, PluginConflictError):
                raise failure.error
            raise _load_error(failure) from failure.error
        if failure.found not in self._reported:
            self._reported.add(failure.found)
            warnings.warn(str(_load_error(failure)), PaigeantWarning, stacklevel=2)

    def _not_found(self, kind: type[Descriptor[Any, Any]], name: str, *, is_scheme: bool = False) -> PluginNotFound:
        self._load_all()
        of_kind = sorted(one.found.name for one in self._loaded() if kind in one.descriptors)
        subject = f"no {kind.kind} serves URLs of scheme {name!r}" if is_scheme else f"no {kind.kind} {name!r}"
        message = f"{subject}; installed: {', '.join(of_kind) or 'none'}"
        if not self._autoload:
            message += " (PAIGEANT_DISABLE_PLUGIN_AUTOLOAD is set: only plugins that are named were looked at)"
        extra = FIRST_PARTY.get(name)
        if extra in self.names():
            if self._may_load(extra):
                self.select(kind, extra)  # raises: it is blocked, broken or in conflict, or has nothing of that kind
        elif extra is not None:
            message += f'. {extra!r} is a first-party transport that is not installed: pip install "paigeant[{extra}]"'
        elif near := difflib.get_close_matches(name.lower(), of_kind, n=1):
            message += f". Did you mean {near[0]!r}?"
        return PluginNotFound(message)


def _named_in(settings: CoreSettings) -> Iterator[str]:
    references = [settings.transport, settings.state_store or "none"]
    references += [*settings.serializers, *settings.signers, *settings.observers]
    for text in references:
        reference = Reference.parse(text)
        if name := reference.name or reference.scheme:
            yield name


def _schemes(loaded: LoadedPlugin, kind: type[Descriptor[Any, Any]]) -> Sequence[str]:
    descriptor = loaded.descriptor(kind)
    return () if descriptor is None else vars(descriptor).get("schemes", ())


def _load_error(failure: PluginLoadFailure) -> PluginLoadError:
    found = failure.found
    return PluginLoadError(
        f"plugin {found.name!r} of distribution {found.origin} is broken: {failure.reason}; "
        f"repair or uninstall it, or set PAIGEANT_BLOCK_PLUGINS={found.name}"
    )


def _conflict(subject: str, rivals: Sequence[FoundPlugin]) -> PluginConflictError:
    origins = " and ".join(rival.origin for rival in rivals)
    # To block one of ours takes more with it than the plugin in question: the core has all built-in ones.
    example = min(reversed(rivals), key=lambda rival: rival.distribution in OURS)
    return PluginConflictError(
        f"{subject} is provided by {origins}; uninstall one of them, or name the one not to use in "
        f"PAIGEANT_BLOCK_PLUGINS (for example {example.distribution})"
    )


def _row(found: FoundPlugin, status: Status, error: str) -> PluginInfo:
    return PluginInfo(UNKNOWN_KIND, found.name, "", found.distribution, found.version, status, error)


def _row_of(found: FoundPlugin, descriptor: Descriptor[Any, Any]) -> PluginInfo:
    return PluginInfo(descriptor.kind, found.name, descriptor.summary, found.distribution, found.version, "available")
