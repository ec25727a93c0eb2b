"""One attempt of one activity: arguments in, a result or a classified failure out. Never raises for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import (
    ConfigurationError,
    PayloadMismatch,
    PayloadMissing,
    PermanentFault,
    ResultTimeout,
    RetryAfter,
    RevisionNotAuthorized,
    SerializationError,
    StoreRequired,
    WorkflowError,
)
from ..routing.advance import Failed, RevisionDraft, Succeeded
from ..routing.itinerary import ActivitySpec, build_steps, revision_ids
from .binding import Signature, plain
from .compensation import Compensations
from .context import ActivityContext, Variables
from .redaction import class_name, describe, frames, leaves
from .values import Outbox, Values

if TYPE_CHECKING:
    from ..model.records import Step, ValueRef
    from ..routing.slip import Slip
    from .activity import Activity
    from .claim import Claim
    from .environment import Environment
    from .serving import Stop
    from .threads import Threads

log = logging.getLogger("paigeant.activity")

Middleware: TypeAlias = Callable[[ActivityContext[Any], Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Wraps each attempt: ``await call()`` runs it. What it raises counts as raised by the activity."""

_PERMANENT = (
    PermanentFault,
    SerializationError,
    ConfigurationError,
    WorkflowError,
    RevisionNotAuthorized,
    PayloadMissing,
    PayloadMismatch,
)


_SHORT_TEXT = 300


@dataclass(frozen=True)
class Host:
    """What the worker lends to every execution."""

    activities: Mapping[str, Activity[..., Any]]
    deps: Any
    middleware: Sequence[Middleware]
    stop: Stop
    threads: Threads


class Execution:
    """Runs the next task of a claim once.

    :ivar outbox: the new values of this attempt.
    """

    def __init__(self, env: Environment, host: Host, claim: Claim) -> None:
        self._env, self._host, self._claim = env, host, claim
        self._activity = host.activities[claim.next.step.act]
        self._values = Values(env, claim.opened, claim.keys)
        self.outbox = Outbox(env)
        self._compensations = Compensations(env, claim, self._activity)

    async def run(self) -> Succeeded | Failed:
        """The result of the attempt.

        :raises CancelledError: it failed, and as the claim is lost or the worker stops, that does not count.
        :raises SecurityError: what is stored as registered for compensation must not be trusted.
        :raises SerializationError: no configured serializer reads it.
        """
        try:
            result = await (self._undo() if self._claim.next.direction == "undo" else self._do())
            if self._cancelled():
                await self._calm()
            return result
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the event loop ends, or this coroutine: nothing can be awaited any more
        except BaseException as exc:  # also of extensions: a panic in Rust is no Exception
            if self._cancelled():
                await self._calm()
            if self._claim.lost or self._host.stop.cancels:
                raise asyncio.CancelledError from exc
            return await self._failed(exc, _kind(exc))
        finally:
            self._compensations.close()

    async def _calm(self) -> None:
        """Take back all cancelling of this task: a leaked cancel scope, say, may have done it. A stop or a lost
        claim is known by its flag."""
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # what was asked for and did not arrive yet; up to 3.12 uncancel leaves it
        while (task := self._claim.task) is not None and task.cancelling():
            task.uncancel()

    def _cancelled(self) -> bool:
        task = self._claim.task
        return task is not None and task.cancelling() > 0

    async def _do(self) -> Succeeded:
        activity, signature = self._activity, self._activity.signature
        if self._claim.opened.lacking:
            await self._values.fetch(_inputs(self._claim.opened.slip, self._claim.next.step))
        arguments = signature.bind(self._arguments(signature))
        with self._attempt(signature) as context:
            value = await self._call(context, activity.function, signature, arguments)
        out = self.outbox.add(signature.plain_result(value), activity.what)
        comp = await self._compensations.collect(self.outbox) if activity.handler else None
        if context is None:
            return Succeeded(out, comp=comp)
        return Succeeded(out, self._changes(context.variables), comp, self._revision(context))

    async def _undo(self) -> Succeeded:
        activity, slip = self._activity, self._claim.opened.slip
        handler, signature, data = activity.handler, activity.handler_signature, self._claim.next.data
        if handler is None or signature is None or data is None:
            raise PermanentFault(f"activity {activity.name!r} has no compensation handler in this worker")
        await self._values.fetch((data, *slip.variables.values()))
        with self._attempt(signature) as context:
            for registered in reversed(self._values.plain(data)):
                await self._call(context, handler, signature, signature.bind(registered))
        return Succeeded(variables=self._changes(context.variables) if context else {})

    def _arguments(self, signature: Signature) -> dict[str, Any]:
        """Explicit arguments, else results, else variables of the parameter's name; defaults are Python's."""
        slip, step = self._claim.opened.slip, self._claim.next.step
        values: dict[str, Any] = {}
        if slip.variables:
            names = slip.variables.keys() & signature.parameters.keys()
            values = {name: self._values.plain(slip.variables[name]) for name in names}
        values.update(self._values.plain(step.args))
        for name, source in (step.from_ or {}).items():
            if source.step not in slip.results:
                raise PermanentFault(f"activity {step.act!r}, argument {name!r}: step {source.step!r} has no result")
            result = self._values.plain(slip.results[source.step])
            values[name] = _follow(result, source.path or (), f"activity {step.act!r}, argument {name!r}")
        return values

    @contextmanager
    def _attempt(self, signature: Signature) -> Generator[ActivityContext[Any] | None]:
        """The context of all calls of the attempt, if somebody sees it: cancelled once they are over."""
        context = self._context(signature)
        try:
            yield context
        finally:
            if context is not None:
                context.cancel()

    def _context(self, signature: Signature) -> ActivityContext[Any] | None:
        if signature.context is None and not self._host.middleware:
            return None
        claim, step = self._claim, self._claim.next.step
        slip = claim.opened.slip
        return ActivityContext(
            correlation_id=claim.correlation_id,
            activity=step.act,
            step=step.id,
            direction=claim.next.direction,
            attempt=claim.cursor.attempt,
            branch=claim.keys.branch,
            variables=Variables(lambda name: self._values.plain(slip.variables[name]), tuple(slip.variables)),
            deps=self._host.deps,
            effects=self,
        )

    async def _call(
        self,
        context: ActivityContext[Any] | None,
        function: Callable[..., Any],
        signature: Signature,
        arguments: dict[str, Any],
    ) -> Any:
        run = function if signature.is_async else self._threaded(function)
        call: Callable[[], Awaitable[Any]] = partial(run, **arguments)
        if context is None:
            return await self._in_time(call)
        if signature.context is not None:
            call = partial(call, **{signature.context: context})
        for middleware in reversed(self._host.middleware):
            call = _wrap(middleware, context, call)
        return await self._in_time(call)

    def _threaded(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def run(**arguments: Any) -> Any:
            value = await self._host.threads.run(partial(function, **arguments), self._activity.name)
            # A plain wrapper, of some decorator, cannot be told from what it wraps until it is called.
            return await value if asyncio.iscoroutine(value) else value

        return run

    async def _in_time(self, call: Callable[[], Awaitable[Any]]) -> Any:
        limit = self._activity.timeout
        if limit is None:
            return await call()
        scope: asyncio.Timeout | None = None
        try:
            async with self._env.clock.timeout(limit) as scope:
                return await call()
        except TimeoutError:
            if scope is None or not scope.expired():
                raise  # The activity's own.
            raise TimeoutError(f"activity {self._activity.name!r} took longer than {limit:g} s") from None

    def _changes(self, variables: Variables) -> dict[str, Any]:
        changes: dict[str, Any] = dict.fromkeys(variables.removed)
        for name, value in variables.changes.items():
            what = f"variable {name!r} set by activity {self._activity.name!r}"
            changes[name] = self.outbox.add(plain(value, what), what)
        return changes

    def _revision(self, context: ActivityContext[Any]) -> RevisionDraft | None:
        asked, slip = context.revisions, self._claim.opened.slip
        if asked is None:
            return None
        if asked.ended:
            return RevisionDraft((), asked.why, end=True)
        rest = slip.remaining[1:]
        ids = revision_ids(slip.revisions + 1)
        before = (*slip.executed, slip.remaining[0])
        inserted = self._steps([*asked.inserted, *(asked.replaced or [])], before, ids)
        kept = rest if asked.replaced is None else ()
        offset = len(inserted)
        appended = self._steps(asked.appended, (*before, *inserted, *kept), lambda n: ids(n + offset))
        return RevisionDraft((*inserted, *kept, *appended), asked.why)

    def _steps(
        self, specs: list[ActivitySpec], earlier: tuple[Step, ...], ids: Callable[[int], str]
    ) -> tuple[Step, ...]:
        if not specs:
            return ()
        steps = build_steps(
            specs, lambda value, what: self.outbox.add(plain(value, what), what), earlier=earlier, ids=ids
        )
        results = self._claim.opened.slip.results
        for source in [source for step in steps for source in (step.from_ or {}).values() if source.step in results]:
            self._check_reach(source.step, results[source.step])
        return steps

    async def _failed(self, exc: BaseException, kind: Literal["transient", "permanent", "rate-limited"]) -> Failed:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("activity %s failed at\n%s", self._activity.name, frames(exc))
        self.outbox.blobs.clear()
        digest = self.outbox.add_text(describe(exc))
        comp = None
        if self._claim.next.direction == "do":
            comp = await self._compensations.collect(self.outbox)
        return Failed(class_name(exc), digest, kind, _delay(exc), comp)

    def refuse(self, result: Succeeded | Failed, exc: Exception) -> Failed:
        """What the activity asked for cannot be: a permanent fault in place of its result.

        A fault that does not fit itself keeps its class and the beginning of its text.
        """
        comp = result.comp
        kept = self.outbox.blobs.get(comp.h) if comp is not None else None
        error, text = class_name(exc), describe(exc)
        if isinstance(result, Failed):
            error, text = result.error, self.text_of(result)
        self.outbox.blobs.clear()
        if comp is not None and kept is not None:
            self.outbox.blobs[comp.h] = kept
            self.outbox.put_aside(comp.h)
        return Failed(error, self.outbox.add_text(text[:_SHORT_TEXT]), "permanent", None, comp)

    def text_of(self, result: Succeeded | Failed) -> str:
        """The redacted text of a failure."""
        return "" if isinstance(result, Succeeded) else self.outbox.text(result.text)

    # What a context can ask for (``context.Effects``).

    async def register_compensation(self, data: dict[str, Any]) -> None:
        await self._compensations.register(data)

    def result(self, name: str) -> Any:
        ref = self._result_ref(name)
        if not self._values.here(ref):
            raise PermanentFault(
                f"the result of {name!r} no longer travels with the message; declare it with "
                f"ResultOf({name!r}) in the itinerary, or use `await ctx.fetch_result_of(...)`"
            )
        return self._values.plain(ref)

    async def fetch_result(self, name: str) -> Any:
        ref = self._result_ref(name)
        self._check_reach(name, ref)
        return await self._values.load(ref)

    def _check_reach(self, name: str, ref: ValueRef) -> None:
        if self._env.store is None and not self._values.here(ref):
            raise StoreRequired(
                f"the result of {name!r} no longer travels with the message, and without a state store it is nowhere "
                f"else: declare it with ResultOf({name!r}) in the itinerary, or configure one (PAIGEANT_STATE_STORE)"
            )

    def _result_ref(self, name: str) -> Any:
        slip = self._claim.opened.slip
        for step in reversed(slip.executed):
            if name in (step.id, step.act) and step.id in slip.results:
                return slip.results[step.id]
        raise PermanentFault(f"no activity or step {name!r} has a result in workflow {slip.origin.wf!r}")


def _wrap(
    middleware: Middleware, context: ActivityContext[Any], call: Callable[[], Awaitable[Any]]
) -> Callable[[], Awaitable[Any]]:
    async def wrapped() -> Any:
        return await middleware(context, call)

    return wrapped


def _inputs(slip: Slip, step: Step) -> list[Any]:
    """References of all values that the step may read without waiting."""
    sources = [slip.results[source.step] for source in (step.from_ or {}).values() if source.step in slip.results]
    return [step.args, *sources, *slip.variables.values()]


def _follow(value: Any, path: Sequence[str | int], what: str) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            raise PermanentFault(f"{what}: the result has nothing at {'.'.join(map(str, path))!r}") from None
    return value


def _kind(exc: BaseException) -> Literal["transient", "permanent", "rate-limited"]:
    """Of a group: permanent if any error in it is, rate-limited if all are."""
    errors = list(leaves(exc))
    if any(isinstance(error, _PERMANENT) and not isinstance(error, ResultTimeout) for error in errors):
        return "permanent"  # a ResultTimeout is none: the workflow that was awaited goes on
    return "rate-limited" if all(isinstance(error, RetryAfter) for error in errors) else "transient"


def _delay(exc: BaseException) -> float | None:
    """The longest that is asked for: earlier, some call would be refused again."""
    return max((error.delay for error in leaves(exc) if isinstance(error, RetryAfter)), default=None)
