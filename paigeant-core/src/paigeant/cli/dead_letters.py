"""``paigeant dead-letters``: refused messages."""

from __future__ import annotations

import base64
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast

import typer

from ..errors import ConfigurationError, WorkflowError
from ..model.names import DEAD, check_name
from .backend import run, shared_transport
from .options import Json, Limit, Namespace, TransportName
from .output import moment, printable, say, show_json, show_table
from .records import summary

if TYPE_CHECKING:
    from ..runtime.dead_letters import DeadLetter, DeadLetters

T = TypeVar("T")


def _plain(queue: str | None) -> str | None:
    """People copy the name of the dead-letter queue as well."""
    return None if queue is None else check_name(queue.removesuffix(DEAD), "queue")


Queue: TypeAlias = Annotated[
    str, typer.Argument(help="The queue that refused them.", metavar="QUEUE", callback=_plain, show_default=False)
]
SEARCHED = 100_000
"""Letters looked through for one id."""

app = typer.Typer(help="Look at refused messages, send them again, throw them away.", no_args_is_help=True)


def _ask(transport: str | None, namespace: str | None, question: Callable[[DeadLetters], Awaitable[T]]) -> T:
    from ..runtime.dead_letters import DeadLetters

    async def main() -> T:
        async with shared_transport(transport, namespace) as connected, DeadLetters(connected) as letters:
            return await question(letters)

    return run(main())


@app.command("list")
def list_letters(
    queue: Annotated[
        str | None, typer.Argument(help="Only of this queue.", metavar="QUEUE", callback=_plain, show_default=False)
    ] = None,
    limit: Limit = 100,
    transport: TransportName = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """List them, oldest first."""
    found = _ask(transport, namespace, lambda letters: letters.list(queue, limit=limit))
    if as_json:
        return show_json([_facts(letter) for letter in found])
    if not found:
        return say("no dead letters")
    rows = [(one.queue, one.id, one.error, moment(one.refused_at), one.size) for one in found]
    return show_table(("queue", "id", "error", "refused at", "bytes"), rows)


@app.command()
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="Of the message.", show_default=False)],
    queue: Annotated[str | None, typer.Option(help="Look only there.", callback=_plain, show_default=False)] = None,
    body: Annotated[bool, typer.Option("--body", help="Show the bytes as well: they may hold personal data.")] = False,
    transport: TransportName = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Show one: why it was refused, its headers, and what its records claim, unverified, without values."""
    found = _ask(transport, namespace, lambda letters: letters.list(queue, limit=SEARCHED))
    letter = next((one for one in found if one.id == message_id), None)
    if letter is None:
        raise WorkflowError(f"no dead letter {message_id!r}; see: paigeant dead-letters list")
    facts = {
        **_facts(letter),
        "headers": dict(letter.message.headers),
        "claims": summary(letter.message.body) if letter.kept else {},
    }
    if body:
        facts["body"] = base64.b64encode(letter.message.body).decode()
    if as_json:
        return show_json(facts)
    facts["refused_at"] = moment(letter.refused_at)
    facts["kept"] = "yes" if letter.kept else "no: the broker would not take these bytes again; they cannot be replayed"
    if body:
        facts["body"] = letter.message.body.decode("utf-8", "backslashreplace")
    return _show(facts)


@app.command()
def replay(
    queue: Queue,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Of messages.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters of the queue.")] = False,
    transport: TransportName = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Send messages back to their queue, byte for byte; they are verified again."""
    if bool(ids) == everything:
        raise ConfigurationError("name the messages to replay, or give --all")
    wanted = None if everything else set(ids or ())
    replayed = _ask(transport, namespace, lambda letters: letters.replay(queue, wanted))
    show_json({"queue": queue, "replayed": replayed}) if as_json else typer.echo(f"{replayed} sent back to {queue}")
    if wanted is not None and replayed < len(wanted):
        raise WorkflowError(f"of {len(wanted)} messages {replayed} are among the dead letters of {queue!r}: see `list`")


@app.command()
def purge(
    queue: Queue,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    transport: TransportName = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Throw all dead letters of a queue away. There is no way back."""
    if not yes:
        _confirm(queue)
    purged = _ask(transport, namespace, lambda letters: letters.purge(queue))
    show_json({"queue": queue, "purged": purged}) if as_json else typer.echo(f"{purged} dead letters thrown away")


def _confirm(queue: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"throwing the dead letters of {queue!r} away needs --yes where nobody can be asked")
    if not typer.confirm(f"Throw all dead letters of {queue!r} away for ever?", err=True):
        raise typer.Exit(1)


def _facts(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "queue": letter.queue,
        "error": letter.error,
        "digest": letter.digest,
        "refused_at": letter.refused_at,
        "bytes": letter.size,
        "kept": letter.kept,
    }


def _show(facts: dict[str, Any], indent: str = "") -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{printable(name)}:")
            _show(cast("dict[str, Any]", value), indent + "  ")
        elif isinstance(value, list):
            typer.echo(f"{indent}{printable(name)}: {', '.join(map(printable, cast('list[object]', value)))}")
        else:
            typer.echo(f"{indent}{printable(name)}: {printable(value)}")
