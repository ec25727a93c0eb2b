"""From words on the command line to values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..routing import ActivitySpec, ResultOf

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def duration(text: str | None, option: str, *, least: float = 0.001) -> float | None:
    """Seconds: ``90``, ``1.5s``, ``10m``, ``2h``, ``7d``; ``None`` stays ``None``.

    :raises ConfigurationError: it is none, or less than ``least``.
    """
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else -1.0
    if not least <= seconds < math.inf:
        raise ConfigurationError(
            f"{option} {text!r}: expected a time such as 90, 1.5s, 10m, 2h or 7d, and at least {least:g} s"
        )
    return seconds


def variables(texts: Sequence[str]) -> dict[str, Any]:
    """``name=text`` and ``name:=json``.

    :raises ConfigurationError: one is neither, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, value = _assignment(text, "--var")
        if name in found:
            raise ConfigurationError(f"--var {text!r}: {name!r} is given twice")
        found[name] = value
    return found


def itinerary(activities: Sequence[str], arguments: Sequence[str], results: Sequence[str]) -> list[ActivitySpec]:
    """Activities with the arguments given to them.

    :param activities: ``activity``, or ``activity@queue`` for one whose queue is not its name.
    :param arguments: ``activity.parameter=text`` or ``:=json``; a position from 1 in place of the name
        means that step alone.
    :param results: ``activity.parameter=earlier-activity``, with ``/key`` or ``/0`` for a part of the result.
    :raises ConfigurationError: one is malformed or names no step.
    :raises InvalidWorkflow: the name of an activity or a queue is malformed.
    """
    from ..routing import ActivitySpec

    names, queues = zip(*map(_activity, activities), strict=True)
    given: list[dict[str, Any]] = [{} for _ in names]
    for text in arguments:
        target, value = _assignment(text, "--arg")
        _assign(names, given, target, value, f"--arg {text!r}")
    for text in results:
        target, value = _assignment(text, "--result")
        _assign(names, given, target, _result(value, text), f"--result {text!r}")
    return [
        ActivitySpec(name=name, arguments=own, queue=queue)
        for name, own, queue in zip(names, given, queues, strict=True)
    ]


def _activity(text: str) -> tuple[str, str | None]:
    """Its name and its queue. Neither can hold an ``@``."""
    name, at, queue = text.partition("@")
    return name, queue if at else None


def _assignment(text: str, option: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or name in ("", ":"):
        raise ConfigurationError(f"{option} {text!r}: expected name=text or name:=json")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"{option} {text!r}: the value after ':=' is not JSON: {exc}") from exc


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _assign(names: Sequence[str], given: Sequence[dict[str, Any]], target: str, value: Any, where: str) -> None:
    """Names of activities may hold dots; names of parameters cannot."""
    name, dot, parameter = target.rpartition(".")
    if not dot or not name or not parameter:
        raise ConfigurationError(f"{where}: expected activity.parameter before the '='")
    for arguments in _steps(names, given, name, where):
        if parameter in arguments:
            raise ConfigurationError(f"{where}: {parameter!r} of {name!r} is given twice")
        arguments[parameter] = value


def _steps(names: Sequence[str], given: Sequence[dict[str, Any]], name: str, where: str) -> Sequence[dict[str, Any]]:
    if name in names:
        return [arguments for other, arguments in zip(names, given, strict=True) if other == name]
    if name.isascii() and name.isdigit() and 1 <= int(name) <= len(names):
        return [given[int(name) - 1]]
    raise ConfigurationError(f"{where}: no activity {name!r} in this workflow, only {', '.join(map(repr, names))}")


def _result(value: object, text: str) -> ResultOf:
    from ..routing import ResultOf

    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"--result {text!r}: expected activity.parameter=earlier-activity")
    step, *path = value.split("/")
    return ResultOf(step, *(int(part) if part.isascii() and part.isdigit() else part for part in path))


def environment(values: Mapping[str, object]) -> dict[str, str]:
    """Options as the settings they stand for."""
    return {f"PAIGEANT_{name.upper()}": str(value) for name, value in values.items() if value is not None}
