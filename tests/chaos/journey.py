"""Three activities that note each run in a file, and the process that is killed while serving them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from paigeant import Activity, ActivityContext, ActivitySpec, Worker, activity
from paigeant.state import transitions

LEASE = 1.5
RESEND = 0.5
NAMES = ("first", "second", "third")
SLIP = [ActivitySpec(name) for name in NAMES]


def hurry() -> None:
    """What takes half a minute in a real fleet takes half a second here."""
    transitions.RESEND_AFTER = RESEND  # type: ignore[misc]


def activities(notes: Path, *, wire: Any = None) -> list[Activity[..., Any]]:
    """Each appends its name to ``notes``; ``wire`` trips in the middle of a step."""

    def make(hop: int, name: str) -> Activity[..., Any]:
        @activity(name)
        async def step(ctx: ActivityContext) -> str:
            with notes.open("a") as file:
                file.write(name + "\n")
            if wire is not None:
                wire.trip("step", "before", hop)
            ctx.variables[name] = ctx.variables.get(name, 0) + 1
            return name

        return step

    return [make(hop, name) for hop, name in enumerate(NAMES)]


def runs(notes: Path) -> list[str]:
    """Names of the activities in the order in which their bodies ran."""
    return notes.read_text().split() if notes.exists() else []


async def serve(directory: Path, mode: str, wire: Any, workflow: str = "") -> None:
    """Serve until the wire kills this process, or the workflow is parked."""
    from paigeant import WorkflowClient
    from paigeant.builtin.sqlite.store import SqliteStore
    from paigeant.builtin.sqlite.transport import SqliteTransport

    from .tripwire import WiredStore, WiredTransport

    hurry()
    transport = WiredTransport(SqliteTransport(directory / "queues.db"), wire)
    async with transport:
        store = WiredStore(SqliteStore(directory / "state.db"), wire) if mode == "separate" else None
        if store is not None:
            await store.connect()
        served = activities(directory / "notes", wire=wire)
        # One at a time, so that nothing else happens at that point.
        worker = Worker(transport, served, state_store=store, lease=LEASE, concurrency=1)
        async with worker, WorkflowClient(transport, state_store=store) as client:
            if not workflow:
                await asyncio.Event().wait()
            async for status in client.watch(workflow):
                if status.state == "parked":
                    break
        if store is not None:
            await store.disconnect()


def main(directory: str, mode: str, point: str, when: str, hop: str, what: str = "kill", workflow: str = "") -> None:
    """``what``: ``kill`` or ``stop`` this process at that point, or kill it in any run of that step (``poison``)."""
    from .tripwire import Poison, Tripwire, kill, stop

    wire = (
        Poison(hop=int(hop)) if what == "poison" else Tripwire(point, when, int(hop), stop if what == "stop" else kill)
    )
    asyncio.run(serve(Path(directory), mode, wire, workflow))


if __name__ == "__main__":
    main(*sys.argv[1:])
