"""``paigeant workflows``: ask about a workflow, and put a parked one back to work."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from .backend import run, workflow_client
from .following import ended
from .options import Json, Limit, Namespace, TransportName
from .outcomes import exit_code, outcome_json, show_outcome
from .output import printable, say, show_json, show_table
from .parse import duration
from .progress import HEADINGS, Progress, describe

if TYPE_CHECKING:
    from ..runtime.client import WorkflowClient

T = TypeVar("T")
Id: TypeAlias = Annotated[str, typer.Argument(help="Correlation id.", metavar="ID", show_default=False)]

app = typer.Typer(help="Ask about workflows; resume parked ones.", no_args_is_help=True)


def _ask(transport: str | None, namespace: str | None, question: Callable[[WorkflowClient], Awaitable[T]]) -> T:
    async def main() -> T:
        async with workflow_client(transport, namespace) as client:
            return await question(client)

    return run(main())


@app.command()
def status(
    correlation_id: Id, transport: TransportName = None, namespace: Namespace = None, as_json: Json = False
) -> None:
    """Where the workflow stands now."""
    found = _ask(transport, namespace, lambda client: client.status(correlation_id))
    if as_json:
        return show_json(dataclasses.asdict(found))
    typer.echo(f"workflow {found.correlation_id} is {printable(describe(found))}")
    if found.state != "ended":
        typer.echo(f"hop {found.seq}, attempt {found.attempt}, queue {printable(found.queue)}")
    if found.state == "ready" and found.consumers != 0:
        look = f"paigeant dead-letters list {printable(found.queue)}"
        typer.echo(f"if it stays so, its message may have been refused; look with: {look}")
    if found.state == "parked":
        typer.echo(f"put it back to work with: paigeant workflows resume {found.correlation_id}")
    return None


@app.command()
def history(
    correlation_id: Id, transport: TransportName = None, namespace: Namespace = None, as_json: Json = False
) -> None:
    """The committed steps, oldest first."""

    async def question(client: WorkflowClient) -> list[dict[str, object]]:
        entries = await client.history(correlation_id)
        progress.update(await client.status(correlation_id), entries)
        return [dataclasses.asdict(entry) for entry in entries]

    progress = Progress(())
    found = _ask(transport, namespace, question)
    if as_json:
        return show_json(found)
    return show_table(HEADINGS, [row.cells() for row in progress.rows()])


@app.command()
def result(
    correlation_id: Id,
    timeout: Annotated[
        str | None, typer.Option(help="Wait at most this long (90, 10m, 2h); default for ever.", show_default=False)
    ] = None,
    transport: TransportName = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Wait for the end and show it. Exit code 0 if completed, else 1; a parked workflow is not waited for."""
    seconds = duration(timeout, "--timeout")
    outcome = _ask(transport, namespace, lambda client: ended(client, correlation_id, seconds))
    show_json(outcome_json(outcome)) if as_json else show_outcome(outcome)
    raise typer.Exit(exit_code(outcome))


@app.command()
def parked(
    limit: Limit = 100, transport: TransportName = None, namespace: Namespace = None, as_json: Json = False
) -> None:
    """Workflows that stand still until someone resumes them."""
    found = _ask(transport, namespace, lambda client: client.parked(limit=limit))
    if as_json:
        return show_json([dataclasses.asdict(one) for one in found])
    if not found:
        return say("no workflow is parked")
    rows = [(one.correlation_id, one.queue, one.attempt, one.parked) for one in found]
    return show_table(("workflow", "queue", "attempt", "reason"), rows)


@app.command()
def resume(
    correlation_id: Id, transport: TransportName = None, namespace: Namespace = None, as_json: Json = False
) -> None:
    """Put a parked workflow back to work at the step where it stands."""
    _ask(transport, namespace, lambda client: client.resume(correlation_id))
    if as_json:
        return show_json({"correlation_id": correlation_id, "resumed": True})
    return typer.echo(f"workflow {correlation_id} is back at work")
