"""``paigeant dispatch``: start a workflow, and follow it."""

from __future__ import annotations

import asyncio
import difflib
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ..errors import BackendUnavailable, PaigeantError, ResultTimeout, StoreRequired, WorkflowError
from .backend import run, shared_transport
from .following import ended
from .options import Json, Namespace, TransportName
from .outcomes import exit_code, outcome_json, show_outcome
from .output import say, show_json, warn
from .parse import duration, itinerary, variables
from .progress import Progress, shown

if TYPE_CHECKING:
    from ..abc import Transport
    from ..routing import ActivitySpec
    from ..runtime.outcome import Outcome, WorkflowStatus


Names: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        help="Names, in the order in which they run; name@queue where the queue is another than the name.",
        metavar="ACTIVITIES",
        show_default=False,
    ),
]
Variables: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--var", help="Variable: name=text or name:=json. Repeatable.", metavar="NAME=VALUE", show_default=False
    ),
]
Arguments: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        help="Argument of one activity: activity.parameter=text or :=json; a position (2.parameter=...) means that "
        "step alone. Repeatable.",
        metavar="ACTIVITY.PARAMETER=VALUE",
        show_default=False,
    ),
]
Results: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--result",
        help="Argument from an earlier result: activity.parameter=earlier, or earlier/key/0. Repeatable.",
        metavar="ACTIVITY.PARAMETER=EARLIER",
        show_default=False,
    ),
]
Id: TypeAlias = Annotated[
    str | None,
    typer.Option("--id", help="Correlation id: the same content again is the same workflow.", show_default=False),
]
Expires: TypeAlias = Annotated[
    str | None, typer.Option(help="End as expired after this time (90, 10m, 2h); default 24h.", show_default=False)
]
Wait: TypeAlias = Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 0 if completed, else 1.")]
Timeout: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Wait, at most this long (90, 10m, 2h); default with --wait for ever. The workflow goes on.",
        show_default=False,
    ),
]


def dispatch(
    activities: Names,
    var: Variables = None,
    arg: Arguments = None,
    result: Results = None,
    correlation_id: Id = None,
    expires: Expires = None,
    wait: Wait = False,
    timeout: Timeout = None,
    transport: TransportName = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Start a workflow of ACTIVITIES. It is durable once this returns."""
    specs = itinerary(activities, arg or (), result or ())
    values = variables(var or ())
    seconds = duration(timeout, "--timeout")
    lifetime = duration(expires, "--expires", least=1)
    request = _Request(
        specs, values, correlation_id or str(uuid.uuid4()), lifetime, wait or seconds is not None, seconds, as_json
    )
    raise typer.Exit(run(_dispatch(request, transport, namespace)))


@dataclass(frozen=True)
class _Request:
    specs: Sequence[ActivitySpec]
    variables: dict[str, Any]
    correlation_id: str
    expires: float | None
    wait: bool
    timeout: float | None
    as_json: bool


async def _dispatch(request: _Request, name: str | None, namespace: str | None) -> int:
    from ..runtime.dispatcher import WorkflowDispatcher

    wf, limit, connected = request.correlation_id, asyncio.timeout(request.timeout), False
    try:
        async with limit, shared_transport(name, namespace) as transport, WorkflowDispatcher(transport) as dispatcher:
            connected = True
            if transport.location:
                say(f"data in {transport.location}")
            await dispatcher.dispatch_workflow(
                request.specs, variables=request.variables, correlation_id=wf, expires=request.expires
            )
            left = _lift(limit)
            say(f"dispatched workflow {wf}")
            return await _dispatched(request, transport, left)
    except TimeoutError:
        if not limit.expired():  # somebody else's
            raise
        if not connected:
            raise BackendUnavailable(
                f"no connection within {request.timeout:g} s, and nothing is dispatched: see `paigeant doctor`, which "
                "tells why, or give it more time"
            ) from None
        raise ResultTimeout(
            f"the transport did not take workflow {wf!r} within {request.timeout:g} s, as far as is known; repeat the "
            f"command with --id {wf}: the same content again is the same workflow"
        ) from None


def _lift(limit: asyncio.Timeout) -> float | None:
    """Let the limit be for something else; what is left of it, in seconds."""
    when = limit.when()
    limit.reschedule(None)
    return None if when is None else max(0.0, when - asyncio.get_running_loop().time())


async def _dispatched(request: _Request, transport: Transport, left: float | None) -> int:
    unserved = await _unserved(transport, request.specs)
    served = await _served(transport) if unserved else ()
    for queue, spec in {spec.queue or spec.name: spec for spec in request.specs}.items():
        if queue in (unserved or ()):
            hint = _hint(queue, spec, served)
            warn(f"nobody serves queue {queue!r} now{hint}; its work waits for a worker that does")
    facts = {"correlation_id": request.correlation_id, "unserved": unserved}
    if not request.wait:
        show_json(facts) if request.as_json else typer.echo(request.correlation_id)
        return 0
    try:
        outcome = await follow(transport, request.correlation_id, request.specs, left, live=not request.as_json)
    except WorkflowError:
        if request.as_json:
            show_json(facts)
        raise
    show_json({**facts, **outcome_json(outcome)}) if request.as_json else show_outcome(outcome)
    return exit_code(outcome)


def _hint(queue: str, spec: ActivitySpec, served: Sequence[str]) -> str:
    """The nearest queue that is served: a name that was misspelt, or the queue that the activity has."""
    near = difflib.get_close_matches(queue, served, n=1)
    if not near:
        return ""
    there = f"{spec.name}@{near[0]}"
    return f" (did you mean {there!r}?)" if spec.queue else f" (did you mean {near[0]!r}, or {there!r}?)"


async def _unserved(transport: Transport, specs: Sequence[ActivitySpec]) -> list[str] | None:
    """Queues without a consumer; ``None`` if it cannot be told: who may publish need not be allowed to look."""
    names = list(dict.fromkeys(spec.queue or spec.name for spec in specs))
    try:
        found = await transport.queues(*names)
    except PaigeantError as exc:
        warn(f"whether anybody serves its queues is unknown: {exc}")
        return None
    return [name for name, stats in found.items() if stats.consumers == 0]


async def _served(transport: Transport) -> list[str]:
    """Queues with a consumer, for a hint; none if they cannot be listed."""
    try:
        return [name for name, stats in (await transport.queues()).items() if stats.consumers]
    except PaigeantError:
        return []


async def follow(
    transport: Transport, correlation_id: str, specs: Sequence[ActivitySpec], timeout: float | None, *, live: bool
) -> Outcome:
    """Show the progress of a workflow on stderr until it ends.

    :param live: as a table that changes, where stderr is a terminal.
    :raises ResultTimeout: it has not ended within ``timeout`` seconds.
    :raises WorkflowError: it is parked.
    """
    from ..runtime.client import WorkflowClient

    progress = Progress([spec.name for spec in specs])
    async with WorkflowClient(transport) as client:
        with shown(progress, live=live and sys.stderr.isatty()) as show:

            async def tell(status: WorkflowStatus) -> None:
                show(status, await client.history(correlation_id))

            try:
                return await ended(client, correlation_id, timeout, tell)
            except StoreRequired:
                say("without a state store there is no progress to show; waiting for the end")
                return await client.outcome(correlation_id, timeout=timeout)
