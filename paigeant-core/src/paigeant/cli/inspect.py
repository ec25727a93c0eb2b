"""``paigeant plugins`` and ``paigeant queues``: what there is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from ..model.names import DEAD, check_name
from .backend import run, shared_transport
from .options import Json, Namespace, TransportName
from .output import count, printable, say, show_json, show_table, warn

if TYPE_CHECKING:
    from ..model.message import QueueStats


def plugins(as_json: Json = False) -> None:
    """List all plugins, broken ones with the reason."""
    from ..plugins.registry import PluginRegistry

    found = PluginRegistry().installed()
    if as_json:
        return show_json([dataclasses.asdict(row) for row in found])
    rows = [(row.kind, row.name, row.distribution, row.version, row.status, row.error or row.summary) for row in found]
    return show_table(("kind", "name", "distribution", "version", "status", ""), rows)


def _checked(names: list[str] | None) -> list[str]:
    """A list, always: with old versions of typer nothing else can be passed on."""
    for name in names or ():
        check_name(name.removesuffix(DEAD), "queue")
    return names or []


def queues(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Only these; default all.", metavar="QUEUE", callback=_checked, show_default=False),
    ] = None,
    transport: TransportName = None,
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Show what waits in the queues, and who serves them."""
    location, found = run(_queues(names or [], transport, namespace))
    if as_json:
        return show_json([_facts(name, stats) for name, stats in found.items()])
    if not found:
        return say(f"no queues yet{f' in {location}' if location else ''}")
    rows = [
        (name, stats.ready, count(stats.in_flight), count(stats.delayed), count(stats.consumers))
        for name, stats in found.items()
    ]
    show_table(("queue", "ready", "in flight", "delayed", "consumers"), rows)
    for name, stats in found.items():
        if _unserved(name, stats):
            warn(f"nobody serves queue {printable(name)!r}")
    return None


async def _queues(
    names: list[str], transport: str | None, namespace: str | None
) -> tuple[str | None, dict[str, QueueStats]]:
    async with shared_transport(transport, namespace) as connected:
        found = await connected.queues(*names)
        return connected.location, dict(sorted(found.items()))


def _facts(name: str, stats: QueueStats) -> dict[str, object]:
    return {"queue": name, **dataclasses.asdict(stats), "unserved": _unserved(name, stats)}


def _unserved(name: str, stats: QueueStats) -> bool:
    """Whether work waits there that nobody takes. Dead letters wait for a person."""
    waiting = stats.ready or stats.in_flight or stats.delayed
    return bool(waiting) and stats.consumers == 0 and not name.endswith(DEAD)
