"""Kills a worker in the middle of a workflow, starts another one, and shows that nothing is lost or done twice.

Run it with ``make demo``, or ``python demo.py``. It runs on SQLite, or on what ``PAIGEANT_TRANSPORT`` names, in a
namespace of its own; ``make demo TRANSPORT=redis`` (or ``rabbitmq``, ``nats``) starts that broker for it. All it writes
outside the broker is in a temporary directory.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from paigeant import ActivitySpec, HistoryEntry, ResultOf, WorkflowClient, WorkflowDispatcher, get_transport

ACTIVITIES = Path(__file__).with_name("activities.py")
STEPS = [
    ActivitySpec(name="validate-input", arguments={"email": " Ann@Example.org "}),
    ActivitySpec(name="create-account", arguments={"email": ResultOf("validate-input"), "plan": "pro"}),
    ActivitySpec(name="send-notification", arguments={"account": ResultOf("create-account")}),
]
PATIENCE = 30.0


class Show:
    """What is seen: one line per activity, from the workflow's signed history."""

    def __init__(self, client: WorkflowClient, correlation_id: str, console: Console) -> None:
        self.client, self.correlation_id, self.console = client, correlation_id, console
        self.history: Sequence[HistoryEntry] = ()
        self.worker: subprocess.Popen[bytes] | None = None
        self.killed_at: int | None = None
        self.since = time.monotonic()
        self.live = Live(get_renderable=self.table, console=console, refresh_per_second=10)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def start_worker(self) -> None:
        self.worker, self.since = subprocess.Popen([sys.executable, str(ACTIVITIES)]), time.monotonic()
        self.say(f"[green]worker {self.worker.pid} started[/]")

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.worker.send_signal(signal.SIGKILL)
        self.worker.wait()
        self.killed_at = len(self.history)
        self.say(f"[bold red]worker {self.worker.pid} killed with SIGKILL, in the middle of create-account[/]")
        self.worker = None

    def stop_worker(self) -> None:
        if self.worker is not None:
            self.worker.terminate()
            self.worker.wait()

    def table(self) -> Table:
        table = Table("activity", "state", Column("attempt", min_width=14), Column("worker", min_width=16), "duration")
        for position, step in enumerate(STEPS):
            table.add_row(step.name, *self.row(position))
        return table

    def row(self, position: int) -> Sequence[str]:
        """State, attempt, worker and duration of a step."""
        again = " (+1 killed)" if position == self.killed_at else ""
        if position < len(self.history):
            entry = self.history[position]
            return (
                "[green]completed[/]",
                f"{entry.attempt}{again}",
                entry.worker,
                f"{entry.finished - entry.started:.1f} s",
            )
        if position > len(self.history):
            return "waiting", "", "", ""
        if self.worker is None:
            return "[red]interrupted[/]", again.strip(), "", ""
        return "[yellow]running[/]", f"1{again}", str(self.worker.pid), f"{time.monotonic() - self.since:.1f} s"

    async def until(self, reached: Callable[[], bool]) -> None:
        """Follow the history until ``reached``."""
        patience = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > patience:
                raise TimeoutError(f"the workflow did not move on within {PATIENCE:g} s")
            await asyncio.sleep(0.05)
            history = await self.client.history(self.correlation_id)
            if len(history) > len(self.history):
                self.history, self.since = history, time.monotonic()


async def play(console: Console) -> bool:
    """One show, in the current directory. Whether every step completed exactly once."""
    async with get_transport() as transport, WorkflowDispatcher(transport) as dispatcher:
        correlation_id = await dispatcher.dispatch_workflow(STEPS)
        console.print(f"dispatched workflow [bold]{correlation_id}[/]", highlight=False)
        show = Show(WorkflowClient(transport), correlation_id, console)
        try:
            with show.live:
                show.start_worker()
                await show.until(lambda: len(show.history) == 1 and any(Path("accounts").glob("*.json")))
                await asyncio.sleep(1)  # well into its two seconds
                show.kill_worker()
                await asyncio.sleep(1)  # time to read
                show.start_worker()
                await show.until(lambda: len(show.history) == len(STEPS))
            outcome = await show.client.result(correlation_id, timeout=PATIENCE)
        finally:
            show.stop_worker()
        return report(console, outcome.status, show.history)


def report(console: Console, status: str, history: Sequence[HistoryEntry]) -> bool:
    accounts, letters = list(Path("accounts").iterdir()), list(Path("outbox").iterdir())
    completed = [entry.activity for entry in history if entry.status == "ok"]
    once = completed == [step.name for step in STEPS] and len(accounts) == len(letters) == 1
    console.print(f"\nworkflow {status}: {', '.join(completed)}")
    console.print("create-account began in two workers and took effect once:")
    console.print(f"{len(accounts)} account, {len(letters)} notification")
    console.print("[bold green]no step completed twice[/]" if once else "[bold red]a step completed twice[/]")
    return once and status == "completed"


def settings(directory: Path) -> dict[str, str]:
    """Of this show and its workers, unless the environment says otherwise."""
    return {
        "PAIGEANT_TRANSPORT": "sqlite",
        "PAIGEANT_SQLITE_PATH": str(directory / "onboarding.db"),
        "PAIGEANT_NAMESPACE": f"demo-{secrets.token_hex(4)}",
        "PAIGEANT_LEASE": "3",  # seconds until a broker gives the dead worker's activity to another one
        "XDG_STATE_HOME": str(directory),  # the development key that signs, on a broker of this machine
    }


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="paigeant-demo-") as directory:
        os.chdir(directory)
        os.environ |= settings(Path(directory)) | os.environ
        correct = asyncio.run(play(Console()))
        os.chdir("/")
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(main())
