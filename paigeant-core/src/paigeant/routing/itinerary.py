"""What a caller writes - ``ActivitySpec``, ``ResultOf`` - and the signable steps made of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, cast

from pydantic import BaseModel

from ..errors import InvalidWorkflow, SerializationError
from ..model.names import check_name
from ..model.records import RevisionGrant, Source, Step, StepPolicy, ValueRef

T = TypeVar("T")

Encode: TypeAlias = Callable[[object, str], ValueRef]
"""``encode(value, what)`` gives the reference of a value; ``what`` names it in errors. The caller keeps the bytes."""

MAX_RECORDS = 256
HARD_MAX_RECORDS = 1024

_STEP_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CHOICES = {"exhausted": ("compensate", "park"), "on_undo_failure": ("halt", "continue", "park")}


@dataclass(frozen=True, slots=True, init=False)
class ResultOf:
    """The result of an earlier step, as the value of an argument.

    :param step: id of the step, or name of its activity (then the latest one before).
    :param path: keys and indexes into the result: ``ResultOf("create-account", "address", "city")``.
    :raises InvalidWorkflow: a part is not text or a whole number.
    """

    step: str
    path: tuple[str | int, ...]

    def __init__(self, step: str, *path: str | int) -> None:
        if not _is_text(step):
            raise InvalidWorkflow(f"ResultOf({step!r}): expected the id or activity name of an earlier step")
        for part in path:
            if not _is_text(part) and not (type(part) is int and abs(part) < 2**53):
                raise InvalidWorkflow(f"ResultOf({step!r}): path part {part!r} is neither a key nor an index")
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "path", path)


@dataclass(frozen=True)
class ActivitySpec:
    """One activity of an itinerary, as its caller wishes it. ``None`` leaves the choice to the activity.

    :param name: the activity.
    :param arguments: values by parameter; a ``ResultOf`` takes the result of an earlier step.
    :param queue: where to run it; default: the queue of the activity's name.
    :param id: unique in the workflow and the name of no other activity in it, ``[A-Za-z0-9._-]{1,64}``; default: its
        position, from ``"1"``.
    :param attempts: executions before it counts as exhausted, 1 to 1000.
    :param exhausted: what then happens: ``"compensate"`` (or fail), or ``"park"`` for a person.
    :param on_undo_failure: when its compensation fails for good: ``"halt"`` (default), ``"continue"``
        with the others, or ``"park"``.
    :param pin: a revision of the itinerary cannot drop it.
    :param pivot: the point of no return: once it succeeded, nothing is compensated any more.
    :raises InvalidWorkflow: a value is not one of these.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queue: str | None = None
    id: str | None = None
    attempts: int | None = None
    exhausted: Literal["compensate", "park"] | None = None
    on_undo_failure: Literal["halt", "continue", "park"] | None = None
    pin: bool = False
    pivot: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.queue is not None:
            check_name(self.queue, "queue")
        object.__setattr__(self, "arguments", self._own_arguments())
        if self.id is not None and not (_is_text(self.id) and _STEP_ID.fullmatch(self.id)):
            raise self._invalid("id", self.id, f"must match {_STEP_ID.pattern}")
        if self.attempts is not None and not (type(self.attempts) is int and 1 <= self.attempts <= 1000):
            raise self._invalid("attempts", self.attempts, "must be a whole number from 1 to 1000")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise self._invalid(name, value, f"must be one of {', '.join(map(repr, choices))}")
        for name in ("pin", "pivot"):
            if not isinstance(getattr(self, name), bool):
                raise self._invalid(name, getattr(self, name), "must be True or False")

    def _own_arguments(self) -> dict[str, Any]:
        """A copy, so that the caller may reuse the mapping for the next workflow."""
        given = cast("object", self.arguments)
        if not isinstance(given, Mapping):
            raise self._invalid("arguments", given, "must be a mapping of parameters to values")
        own = dict(cast("Mapping[str, Any]", given))
        for key in own:
            if not (_is_text(key) and 1 <= len(key) <= 128):
                raise self._invalid("arguments", key, "a parameter name is text of 1 to 128 characters")
        return own

    def _invalid(self, parameter: str, value: object, remedy: str) -> InvalidWorkflow:
        return InvalidWorkflow(f"activity {self.name!r}: {parameter}={value!r}: {remedy}")


def build_steps(
    specs: Sequence[ActivitySpec],
    encode: Encode,
    *,
    earlier: Sequence[Step] = (),
    ids: Callable[[int], str] = str,
) -> tuple[Step, ...]:
    """Turn specs into steps.

    :param encode: makes a reference of the arguments of one step (those that are no ``ResultOf``).
    :param earlier: the steps before these, executed or not; ``ResultOf`` may name them.
    :param ids: the id of the n-th spec, counted from 1, that has none of its own.
    :raises InvalidWorkflow: no specs, two of one id, an id that is the name of another activity, or a ``ResultOf``
        that names no earlier step.
    """
    named = [(spec.id or ids(position), spec) for position, spec in enumerate(_checked(specs), 1)]
    _check_ids(named, earlier)
    built: list[Step] = []
    for position, (name, spec) in enumerate(named):
        later = [other for _, other in named[position:]]
        built.append(_build(name, spec, encode, [*earlier, *built], later))
    return tuple(built)


def carry(values: Mapping[str, Any], encode: Callable[[object, str], T], what: str, owner: str) -> T:
    """Encode arguments as one value.

    :raises SerializationError: naming the first argument that cannot be carried.
    """
    try:
        return encode(values, what)
    except SerializationError:
        for name, value in values.items():
            encode(value, f"argument {name!r} {owner}")
        raise


def revision_ids(n: int) -> Callable[[int], str]:
    """The ids of the steps that the ``n``-th revision inserts: the same however often it is repeated."""
    return lambda position: f"r{n}.{position}"


def check_records(
    origin_steps: Sequence[Step], rev: RevisionGrant | None = None, max_records: int = MAX_RECORDS
) -> None:
    """Make sure that the longest history this itinerary can have fits: each step done, then undone.

    :param max_records: records a workflow may have; 256 by default, 1024 at most.
    :raises InvalidWorkflow: it does not.
    """
    steps = max(len(origin_steps), rev.max if rev else 0)
    records, cap = 1 + 2 * steps, min(max_records, HARD_MAX_RECORDS)
    if records > cap:
        raise InvalidWorkflow(
            f"{steps} steps, each done and then undone, may need {records} records, more than the {cap} allowed, "
            f"which is {(cap - 1) // 2} steps; split the workflow, or raise PAIGEANT_MAX_RECORDS "
            f"(at most {HARD_MAX_RECORDS})"
        )


def _checked(specs: object) -> Sequence[ActivitySpec]:
    if isinstance(specs, (str, bytes)) or not isinstance(specs, Sequence):
        raise InvalidWorkflow(f"expected a list of ActivitySpec, got {type(specs).__name__}")
    items = cast("Sequence[object]", specs)
    if not items:
        raise InvalidWorkflow("the itinerary is empty; give at least one ActivitySpec")
    for position, item in enumerate(items, 1):
        if not isinstance(item, ActivitySpec):
            raise InvalidWorkflow(
                f"item {position} of the itinerary: expected ActivitySpec(name) or what the spec() of an activity "
                f"returns, got {item!r}"
            )
    return cast("Sequence[ActivitySpec]", items)


def _check_ids(named: Sequence[tuple[str, ActivitySpec]], earlier: Sequence[Step]) -> None:
    """A result is looked up by a step's id or an activity's name: none may mean two."""
    activity_of = {step.id: step.act for step in earlier}
    for name, spec in named:
        if name in activity_of:
            raise InvalidWorkflow(f"activity {spec.name!r}: another step has the id {name!r}; give this one its own")
        activity_of[name] = spec.name
    activities = set(activity_of.values())
    for name, activity in activity_of.items():
        if name != activity and name in activities:
            raise InvalidWorkflow(
                f"activity {activity!r}: the id {name!r} of its step is the name of another activity of this workflow, "
                "and a result is looked up by either; give the step another id"
            )


def _build(name: str, spec: ActivitySpec, encode: Encode, before: list[Step], later: list[ActivitySpec]) -> Step:
    sources: dict[str, Source] = {}
    plain: dict[str, Any] = {}
    for key, value in spec.arguments.items():
        if isinstance(value, ResultOf):
            sources[key] = _source(spec, key, value, before, later)
        elif any(isinstance(part, ResultOf) for part in _walk(value)):
            raise InvalidWorkflow(
                f"activity {spec.name!r}, argument {key!r}: a ResultOf inside another value is not resolved; "
                "make it an argument of its own"
            )
        else:
            plain[key] = value
    return Step(
        id=name,
        act=spec.name,
        q=spec.queue or spec.name,
        args=carry(plain, encode, f"the arguments of activity {spec.name!r}", f"of activity {spec.name!r}"),
        from_=sources or None,
        policy=_policy(spec),
        pin=spec.pin or None,
        comp=spec.on_undo_failure,
    )


def _policy(spec: ActivitySpec) -> StepPolicy | None:
    if spec.attempts is None and spec.exhausted is None and not spec.pivot:
        return None
    return StepPolicy(attempts=spec.attempts, exhausted=spec.exhausted, pivot=True if spec.pivot else None)


def _source(spec: ActivitySpec, key: str, result: ResultOf, before: list[Step], later: list[ActivitySpec]) -> Source:
    for step in reversed(before):
        if result.step in (step.id, step.act):
            return Source(step=step.id, path=result.path or None)
    why = "comes later" if any(result.step in (s.id, s.name) for s in later) else "is not in the itinerary"
    raise InvalidWorkflow(
        f"activity {spec.name!r}, argument {key!r}: ResultOf({result.step!r}) must name an earlier step, "
        f"and {result.step!r} {why}"
    )


def _walk(value: object) -> Iterator[object]:
    """The value and everything in it, each container once (it may contain itself)."""
    seen: set[int] = set()
    pending: list[object] = [value]
    while pending:
        part = pending.pop()
        yield part
        if id(part) not in seen:
            seen.add(id(part))
            pending.extend(_parts(part))


def _parts(value: Any) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from cast("Mapping[object, object]", value).values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from cast("Sequence[object]", value)
    elif isinstance(value, BaseModel):
        yield from value.__dict__.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, (type, ResultOf)):
        yield from (getattr(value, part.name, None) for part in dataclasses.fields(value))


def _is_text(value: object) -> bool:
    """Text that UTF-8 can carry: a lone surrogate cannot travel."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
