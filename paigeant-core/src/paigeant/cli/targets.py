"""What ``paigeant worker TARGET`` serves: a module, an object in one, or a file."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Iterable
from itertools import dropwhile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..errors import ConfigurationError, PaigeantError
from .output import say

if TYPE_CHECKING:
    from ..runtime.activity import Activity
    from ..runtime.worker import Worker

    Served: TypeAlias = Worker | list[Activity[..., Any]]

log = logging.getLogger("paigeant.worker")

FRAMES = 5
"""Of the user's own code, shown when it fails."""
_MACHINERY = (str(Path(__file__).parents[1]), str(Path(asyncio.__file__).parent), contextlib.__file__, "<frozen ")
"""Where what runs the user's code lies: this package, the event loop, context managers, imports."""


def load(target: str) -> Served:
    """Find what to serve.

    :param target: ``module``, ``module:name``, ``path/file.py`` or ``path/file.py:name``. Without a name:
        the worker that the module has at its top level, or else its activities; those that it imports only
        if it has none of its own. A name is a worker, an activity, a list of activities, or a function that
        returns one of these.
    :raises ConfigurationError: it cannot be imported, or has nothing to serve, or several workers.
    """
    place, colon, name = target.partition(":")
    if not place or (colon and not name):
        raise ConfigurationError(f"target {target!r}: expected module, module:name or path/file.py[:name]")
    module = _module(place)
    return _named(module, place, name) if name else _served_by(module, place)


def _module(place: str) -> ModuleType:
    _importable(Path.cwd())
    path = Path(place)
    if path.suffix == ".py" or len(path.parts) > 1:
        return _imported(place, lambda: _file(path))
    try:
        known = importlib.util.find_spec(place) is not None
    except ModuleNotFoundError as exc:
        known = not _missing(exc, place)
    except (ImportError, ValueError) as exc:
        raise ConfigurationError(f"module {place!r} cannot be imported: {exc}") from exc
    except Exception:
        known = True  # A parent package failed: importing it again shows how.
    if not known:
        raise ConfigurationError(
            f"no module {place!r}, neither in {str(Path.cwd())!r} nor installed; "
            "name a module (app), an object in one (app:worker) or a file (path/app.py)"
        )
    return _imported(place, lambda: importlib.import_module(place))


def _missing(exc: ModuleNotFoundError, place: str) -> bool:
    """Whether the module itself is missing, and not one that it imports."""
    return exc.name is not None and (place == exc.name or place.startswith(f"{exc.name}."))


def _importable(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"no file {str(path)!r} in {str(Path.cwd())!r}")
    _importable(path.resolve().parent)
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"_paigeant_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does: pydantic and pickle look it up there
    spec.loader.exec_module(module)
    return module


def _imported(place: str, load: Any) -> ModuleType:
    try:
        module: ModuleType = load()
    except PaigeantError:
        raise
    except (Exception, SystemExit) as exc:
        say(brief(exc))
        raise ConfigurationError(f"importing {place!r} raised {type(exc).__name__}: {exc}") from exc
    return module


def brief(exc: BaseException) -> str:
    """The traceback of the user's own code: without the machinery around it, and not more than the last frames."""
    frames = traceback.extract_tb(exc.__traceback__)
    kept = [frame for frame in dropwhile(_machinery, frames) if "importlib" not in frame.filename]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept[-FRAMES:])] if kept else []
    return "".join([*lines, *traceback.format_exception_only(exc)]).rstrip()


def _machinery(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_MACHINERY)


def _served_by(module: ModuleType, place: str) -> Served:
    """Its worker, which may have a lifespan and middleware; without one, its activities."""
    from ..runtime.worker import Worker

    once: dict[int, tuple[str, Any]] = {id(value): (name, value) for name, value in vars(module).items()}
    workers = [(name, value) for name, value in once.values() if isinstance(value, Worker)]
    if len(workers) > 1:
        choices = " or ".join(f"{place}:{name}" for name, _ in workers)
        raise ConfigurationError(f"{place!r} has {len(workers)} workers; name one: {choices}")
    if workers:
        return workers[0][1]
    activities = _activities([value for _, value in once.values()], module)
    if activities:
        return activities
    raise ConfigurationError(f"{place!r} has nothing to serve: decorate functions with @activity, or make a Worker")


def _activities(values: list[Any], module: ModuleType) -> list[Activity[..., Any]]:
    """Those of the module, and only if there are none those it imports. What is imported for ``ctx.result_of``,
    say, is served elsewhere, with the lifespan and middleware that it needs."""
    from ..runtime.activity import Activity

    found: list[Activity[..., Any]] = [value for value in values if isinstance(value, Activity)]
    others = [one for one in found if _of_another(module, one)]
    if len(others) in (0, len(found)):
        return found
    log.info(
        "imported, so not served here: %s; a Worker with a list of its activities serves any",
        ", ".join(f"{one.name} (of {one.__module__})" for one in others),
    )
    return [one for one in found if one not in others]


def _of_another(module: ModuleType, activity: Activity[..., Any]) -> bool:
    """Whether the module where its function was written has it; one outside of this package. A decorator or a
    factory lends the name of its module to functions that are not served there."""
    home = sys.modules.get(activity.__module__)
    if home is None or f"{activity.__module__}.".startswith(f"{module.__name__}."):
        return False
    return any(value is activity for value in vars(home).values())


def _named(module: ModuleType, place: str, name: str) -> Served:
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            has = ", ".join(sorted(key for key in vars(module) if not key.startswith("_"))) or "nothing"
            raise ConfigurationError(f"{place!r} has no {name!r}; it has: {has}") from None
    return _served(value, f"{place}:{name}")


def _served(value: Any, where: str) -> Served:
    from ..runtime.activity import Activity
    from ..runtime.worker import Worker

    if inspect.iscoroutinefunction(value):
        raise ConfigurationError(f"{where!r} is an async function; make it a plain one that returns a Worker")
    if callable(value) and not isinstance(value, (Activity, type)):
        value = _called(value, where)
    if isinstance(value, Worker):
        return value
    if isinstance(value, Activity):
        return [value]
    items: list[Any] = _items(value)
    if items and all(isinstance(item, Activity) for item in items):
        return items
    raise ConfigurationError(
        f"{where!r} is a {type(value).__name__}; expected a Worker, activities, or a function that returns one of these"
    )


def _items(value: object) -> list[Any]:
    iterable = isinstance(value, Iterable) and not isinstance(value, (str, bytes, type))
    return list(cast("Iterable[Any]", value)) if iterable else []


def _called(function: Any, where: str) -> Any:
    try:
        return function()
    except PaigeantError:
        raise
    except Exception as exc:
        say(brief(exc))
        raise ConfigurationError(f"calling {where!r} raised {type(exc).__name__}: {exc}") from exc
