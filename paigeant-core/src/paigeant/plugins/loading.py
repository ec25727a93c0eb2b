"""Loading and registering one plugin at a time, so that one cannot harm another."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from itertools import islice
from typing import Any, TypeVar, cast

import pluggy

from ..errors import PluginError
from . import hookspecs
from .descriptors import Descriptor
from .discovery import GROUP, FoundPlugin, PluginLoadFailure
from .hookspecs import HOOKS, PROJECT
from .settings import PluginSettings

D = TypeVar("D", bound=Descriptor[Any, Any])

_scheme = re.compile(r"[a-z][a-z0-9+.-]*")


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin whose hooks were called and whose descriptors are sound, one per kind at most."""

    found: FoundPlugin
    descriptors: Mapping[type[Descriptor[Any, Any]], Descriptor[Any, Any]]

    def descriptor(self, kind: type[D]) -> D | None:
        return cast("D | None", self.descriptors.get(kind))


class Loader:
    """Imports and registers plugins with a pluggy manager of its own."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)

    def load(self, found: FoundPlugin) -> LoadedPlugin | PluginLoadFailure:
        """Import it, register it, call its hooks. Whatever goes wrong is returned, not raised.

        What it prints must not mix with what a command prints on stdout.
        """
        try:
            with redirect_stdout(sys.stderr):
                return LoadedPlugin(found, self._register(found.name, _import(found)))
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # also of extensions: a panic in Rust is no Exception
            return PluginLoadFailure(found, exc)

    def _register(self, name: str, plugin: object) -> dict[type[Descriptor[Any, Any]], Descriptor[Any, Any]]:
        _check_markers(plugin)
        self._manager.register(plugin, name=name)
        try:
            self._manager.check_pending()
            pairs = ((kind, self._call(hook, kind, name, plugin)) for hook, kind in HOOKS.items())
            if descriptors := {kind: descriptor for kind, descriptor in pairs if descriptor is not None}:
                return descriptors
            raise PluginError(f"it has no hook; define one of {', '.join(HOOKS)} and mark it with @hookimpl")
        except BaseException:
            # A rejected plugin must not stay behind: the next check_pending would blame its successor.
            self._manager.unregister(name=name)
            raise

    def _call(
        self, hook: str, kind: type[Descriptor[Any, Any]], name: str, plugin: object
    ) -> Descriptor[Any, Any] | None:
        """Call one hook of this plugin alone, and take all it yields."""
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        caller = self._manager.subset_hook_caller(hook, remove_plugins=others)
        impls = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]
        if not impls:
            return None
        for impl in impls:
            _check_function(hook, impl)
        results = caller()
        if len(results) != 1:
            raise PluginError(f"{hook} must yield one {kind.__name__}, not return None")
        return _only(hook, kind, name, results[0])


def _import(found: FoundPlugin) -> object:
    point = EntryPoint(found.name, found.value, GROUP)
    if point.pattern.match(point.value) is None:
        raise PluginError(f"the value of its entry point, {point.value!r}, must be 'module' or 'module:object'")
    return point.load()


def _check_markers(plugin: object) -> None:
    for name, member in inspect.getmembers_static(plugin):
        if name.startswith(f"{PROJECT}_") and inspect.isroutine(member) and not hasattr(member, f"{PROJECT}_impl"):
            raise PluginError(f"{name} is not marked with @hookimpl of paigeant.plugins (another project's marker?)")


def _check_function(hook: str, impl: pluggy.HookImpl) -> None:
    if impl.wrapper or impl.hookwrapper:
        raise PluginError(f"{hook} must not be a hook wrapper")
    if inspect.iscoroutinefunction(impl.function) or inspect.isasyncgenfunction(impl.function):
        raise PluginError(f"{hook} is async; hooks only register and must be plain functions")


def _only(hook: str, kind: type[Descriptor[Any, Any]], name: str, result: Any) -> Descriptor[Any, Any]:
    """The one descriptor a hook yielded, checked."""
    if inspect.iscoroutine(result):
        result.close()
        raise PluginError(f"{hook} returned a coroutine; hooks only register and must be plain functions")
    if isinstance(result, Descriptor):
        raise PluginError(f"{hook} must yield its {kind.__name__}, not return it")
    # Two are enough to know that there is more than one, and to reach an error raised after the first.
    items: list[Descriptor[Any, Any]] = list(islice(result, 2))
    if len(items) != 1:
        raise PluginError(f"{hook} must yield one {kind.__name__}; it yielded {len(items) or 'none'}")
    if not issubclass(type(items[0]), kind):
        raise PluginError(f"{hook} must yield a {kind.__name__}, not {type(items[0]).__name__}")
    _check_descriptor(items[0], name)
    return items[0]


def _check_descriptor(descriptor: Descriptor[Any, Any], name: str) -> None:
    # Written in Python without type checks, often: everything is looked at once, here.
    label = type(descriptor).__name__
    values: dict[str, Any] = vars(descriptor)
    if values["name"] != name:
        raise PluginError(f"{label} is named {values['name']!r}, its entry point {name!r}; make them equal")
    if not isinstance(values["summary"], str):
        raise PluginError(f"{label} {name!r}: summary must be a string")
    if not (inspect.isclass(values["settings"]) and issubclass(values["settings"], PluginSettings)):
        raise PluginError(f"{label} {name!r}: settings must be a subclass of PluginSettings")
    if not callable(values["factory"]) or not callable(values.get("init") or values["factory"]):
        raise PluginError(f"{label} {name!r}: factory and init must be callable")
    schemes = values.get("schemes", ())
    if not isinstance(schemes, tuple) or not all(
        isinstance(scheme, str) and _scheme.fullmatch(scheme) for scheme in cast("tuple[object, ...]", schemes)
    ):
        raise PluginError(f"{label} {name!r}: schemes must be a tuple of lower-case URL schemes")
