"""What an activity may know and do while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, overload

from typing_extensions import TypeVar  # with default=, which typing has from 3.13; pydantic brings it

from ..errors import PermanentFault
from ..routing.itinerary import ActivitySpec
from ..state.ids import idempotency_key

if TYPE_CHECKING:
    from .activity import Activity, Ran

D = TypeVar("D", default=Any)
R = TypeVar("R")


class Effects(Protocol):
    """What the worker does for a context: the only way out of it."""

    async def register_compensation(self, data: dict[str, Any]) -> None: ...

    def result(self, name: str) -> Any: ...

    async def fetch_result(self, name: str) -> Any: ...


@dataclass
class Revisions:
    """What the activity asked to change in the rest of the itinerary."""

    inserted: list[ActivitySpec] = field(default_factory=list[ActivitySpec])
    appended: list[ActivitySpec] = field(default_factory=list[ActivitySpec])
    replaced: list[ActivitySpec] | None = None
    ended: bool = False
    why: str = ""


class Variables(MutableMapping[str, Any]):
    """The workflow's variables: read as they came, set by assignment, committed with the outcome.

    A change inside of a value that was read, as by ``append``, is no assignment, and is lost.
    """

    def __init__(self, load: Callable[[str], Any], names: Sequence[str]) -> None:
        self._load, self._names = load, set(names)
        self.changes: dict[str, Any] = {}
        self.removed: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name in self.changes:
            return self.changes[name]
        if name in self.removed or name not in self._names:
            raise KeyError(name)
        return self._load(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= 128:
            raise PermanentFault(f"variable name {name!r} must be text of 1 to 128 characters")
        self.removed.discard(name)
        self.changes[name] = value

    def __delitem__(self, name: str) -> None:
        _ = self[name]
        self.changes.pop(name, None)
        if name in self._names:
            self.removed.add(name)

    def __iter__(self) -> Iterator[str]:
        yield from (self._names - self.removed) | self.changes.keys()

    def __len__(self) -> int:
        return len((self._names - self.removed) | self.changes.keys())


class ActivityContext(Generic[D]):
    """Handed to an activity or compensation handler that declares a parameter of this type.

    :ivar correlation_id: id of the workflow.
    :ivar activity: name of the activity.
    :ivar step: id of the step in the itinerary.
    :ivar direction: ``do``, or ``undo`` in a compensation handler.
    :ivar attempt: from 1.
    :ivar variables: the workflow's variables; assign to change them: a change inside of a value is lost.
    :ivar deps: what the worker's ``lifespan`` yielded.
    """

    def __init__(
        self,
        *,
        correlation_id: str,
        activity: str,
        step: str,
        direction: Literal["do", "undo"],
        attempt: int,
        branch: str,
        variables: Variables,
        deps: D,
        effects: Effects,
    ) -> None:
        self.correlation_id = correlation_id
        self.activity = activity
        self.step = step
        self.direction = direction
        self.attempt = attempt
        self.variables = variables
        self.deps = deps
        self.revisions: Revisions | None = None
        self._branch = branch
        self._loop = asyncio.get_running_loop()
        self._effects = effects
        self._cancelled = False

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step; give it to whatever has effects."""
        return idempotency_key(self.correlation_id, self._branch, self.step, self.direction)

    @property
    def sync(self) -> SyncContext:
        """The asynchronous calls, for plain functions, which run in threads."""
        return SyncContext(self, self._loop)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is to stop (time-out, lost lease, shutdown); for plain functions, which
        cannot be interrupted. Thread-safe."""
        return self._cancelled

    def cancel(self) -> None:
        """Set ``cancelled``."""
        self._cancelled = True

    async def register_compensation(self, **data: Any) -> None:
        """Make ``data`` durable *before* the effect, so that even this step, should it fail, is undone.

        The activity's compensation handler is called with these values; several registrations of one
        step are undone last first.

        :raises StoreRequired: no state store is configured.
        :raises PermanentFault: the activity has no handler, or the handler does not take this data.
        """
        await self._effects.register_compensation(data)

    @overload
    def result_of(self, activity: Ran[Coroutine[Any, Any, R]]) -> R: ...
    @overload
    def result_of(self, activity: Ran[R]) -> R: ...
    @overload
    def result_of(self, activity: str) -> Any: ...
    def result_of(self, activity: Any) -> Any:
        """The result of the latest run of an activity, typed if given the activity, plain if its name.

        It reads what the message carries: the last result, and results that this or a later step
        declares with ``ResultOf``.

        :raises PermanentFault: no such result, or it no longer travels (see ``fetch_result_of``).
        """
        return _typed(activity, self._effects.result(_name(activity)))

    @overload
    async def fetch_result_of(self, activity: Ran[Coroutine[Any, Any, R]]) -> R: ...
    @overload
    async def fetch_result_of(self, activity: Ran[R]) -> R: ...
    @overload
    async def fetch_result_of(self, activity: str) -> Any: ...
    async def fetch_result_of(self, activity: Any) -> Any:
        """Like ``result_of``, also for results that left the message: they are read from the store.

        :raises PermanentFault: no such result.
        :raises StoreRequired: it no longer travels and no state store is configured.
        """
        return _typed(activity, await self._effects.fetch_result(_name(activity)))

    def insert(self, *activities: ActivitySpec, why: str = "inserted") -> None:
        """Put activities before all that remains; committed with this step's outcome."""
        self._revise(why).inserted.extend(activities)

    def append(self, *activities: ActivitySpec, why: str = "appended") -> None:
        """Put activities after all that remains."""
        self._revise(why).appended.extend(activities)

    def replace(self, *activities: ActivitySpec, why: str = "replaced") -> None:
        """Discard what remains (pinned steps excepted: dropping one is refused) and do this instead."""
        self._revise(why).replaced = list(activities)

    def terminate(self, why: str = "terminated") -> None:
        """End the workflow after this step as ``terminated``: nothing is compensated."""
        self._revise(why).ended = True

    def _revise(self, why: str) -> Revisions:
        if self.direction == "undo":
            raise PermanentFault("the itinerary cannot be revised while compensating")
        if not isinstance(why, str):
            raise PermanentFault(f"the reason of a revision is text, not {why!r}")
        asked = self.revisions = self.revisions or Revisions()
        asked.why = why[:256] or "revised"
        return asked


class SyncContext:
    """The asynchronous calls of a context, for plain functions, which run in threads.

    On the event loop, so in an ``async def``, each raises ``PermanentFault``: ``await`` those of the context itself.
    """

    def __init__(self, context: ActivityContext[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._context, self._loop = context, loop

    def register_compensation(self, **data: Any) -> None:
        """See :meth:`ActivityContext.register_compensation`."""
        self._run(self._context.register_compensation(**data))

    @overload
    def fetch_result_of(self, activity: Ran[Coroutine[Any, Any, R]]) -> R: ...
    @overload
    def fetch_result_of(self, activity: Ran[R]) -> R: ...
    @overload
    def fetch_result_of(self, activity: str) -> Any: ...
    def fetch_result_of(self, activity: Any) -> Any:
        """See :meth:`ActivityContext.fetch_result_of`."""
        return self._run(self._context.fetch_result_of(activity))

    def _run(self, call: Coroutine[Any, Any, R]) -> R:
        if _is_running(self._loop):  # it would wait for itself, for ever
            call.close()
            raise PermanentFault(
                "ctx.sync is for plain functions: in an `async def`, leave `.sync` out and `await` the call"
            )
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """In this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _name(activity: Activity[..., Any] | str) -> str:
    return activity if isinstance(activity, str) else activity.name


def _typed(activity: Activity[..., Any] | str, plain: Any) -> Any:
    return plain if isinstance(activity, str) else activity.signature.typed_result(plain)
