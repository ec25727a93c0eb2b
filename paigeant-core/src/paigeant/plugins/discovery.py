"""Finding plugins: installed metadata is read, no code of a plugin is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

GROUP = "paigeant"

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class FoundPlugin:
    """An entry point, as its distribution declares it.

    :param name: its name, the one used in configuration.
    :param value: the module (or ``module:object``) that holds the hooks.
    :param distribution: name of the distribution.
    :param version: version of the distribution.
    """

    name: str
    value: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class PluginLoadFailure:
    """A plugin that could not be found properly, imported or registered, and why."""

    found: FoundPlugin
    error: BaseException

    @property
    def reason(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


def discover() -> tuple[list[FoundPlugin], list[PluginLoadFailure]]:
    """All entry points of the group, sorted, and the distributions whose metadata is unreadable.

    ``importlib.metadata.entry_points`` would do, but one damaged file anywhere makes it fail for all.
    """
    found: list[FoundPlugin] = []
    failures: list[PluginLoadFailure] = []
    for distribution, text in _candidates():
        name, version = _identity(distribution)
        try:
            entries = metadata.EntryPoints(distribution.entry_points).select(group=GROUP)
            found += [FoundPlugin(entry.name, entry.value, name, version) for entry in entries]
        except Exception as exc:
            if f"[{GROUP}]" in text:
                failures.append(PluginLoadFailure(FoundPlugin(name, "", name, version), exc))
    return sorted(found, key=lambda one: (one.name, one.distribution)), failures


def _candidates() -> Iterator[tuple[metadata.Distribution, str]]:
    """Distributions that mention the group; of several copies on the path, the one Python imports."""
    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError):
            continue
        if GROUP not in text:
            continue
        key = re.sub(r"[-_.]+", "-", _identity(distribution)[0]).lower()
        if key == _UNKNOWN or key not in seen:
            seen.add(key)
            yield distribution, text


def _identity(distribution: metadata.Distribution) -> tuple[str, str]:
    try:
        info = distribution.metadata
        return info["Name"] or _UNKNOWN, info["Version"] or _UNKNOWN
    except Exception:
        return _UNKNOWN, _UNKNOWN
