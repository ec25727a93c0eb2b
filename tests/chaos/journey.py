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
                wire._trip("step", "before", hop)
            ctx.variables[name] = ctx.variables.get(name, 0) + 1
            return name

        return step

    return [make(hop, name) for hop, name in enumerate(NAMES)]


def runs(notes: Path) -> list[str]:
    """Names of the activities in the order in which their bodies ran."""
    return notes.read_text().split() if notes.exists() else []


async def serve(directory: Path, mode: str, point: str, when: str, hop: int) -> None:
    """Serve until the wire kills this process."""
    from paigeant.builtin.sqlite.store import SqliteStore
    from paigeant.builtin.sqlite.transport import SqliteTransport

    from .tripwire import Tripwire, WiredStore, WiredTransport, kill

    hurry()
    wire = Tripwire(point, when, hop, kill)
    transport = WiredTransport(SqliteTransport(directory / "queues.db"), wire)
    async with transport:
        store = WiredStore(SqliteStore(directory / "state.db"), wire) if mode == "separate" else None
        if store is not None:
            await store.connect()
        served = activities(directory / "notes", wire=wire)
        # One at a time, so that nothing else happens at that point.
        worker = Worker(transport, served, state_store=store, lease=LEASE, concurrency=1)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])))  # type: ignore[call-arg]
