"""The chain-3 workload on Paigeant, for a harness that compares systems in one run.

The harness provides the module ``common`` (class ``Bench``, ``main``, ``ready``, ``step``): put its folder on
``PYTHONPATH`` or name it in ``PEER_BENCH``. N workflows of three no-op steps, about 1 KiB of JSON each; the
driver dispatches and waits, a second process works.

    python peer_chain.py --transport sqlite|redis|rabbitmq|nats --store own|none|separate|redis --workflows 1000

Brokers are those of ``BENCH_REDIS_URL``, ``BENCH_AMQP_URL`` and ``BENCH_NATS_URL``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ.get("PEER_BENCH", ""))

from common import Bench, main, ready, step  # type: ignore[import-not-found]

from paigeant import ActivitySpec, ResultOf, Worker, WorkflowClient, WorkflowDispatcher, activity, get_transport
from paigeant.runtime.process import long_running

BROKERS = {"redis": "BENCH_REDIS_URL", "rabbitmq": "BENCH_AMQP_URL", "nats": "BENCH_NATS_URL"}


def _step(letter: str) -> Any:
    @activity(letter.lower())
    async def run(p: dict[str, Any]) -> dict[str, Any]:
        return step(letter, p)

    return run


class Chain(Bench):
    system = "paigeant"
    packages = ("paigeant-core", "paigeant-redis", "paigeant-rabbitmq", "paigeant-nats")

    @classmethod
    def add_args(cls, p: Any) -> None:
        p.add_argument("--transport", default="sqlite")
        p.add_argument("--sync", choices=("FULL", "NORMAL"), default="FULL")
        p.add_argument("--store", choices=("own", "none", "separate", "redis"), default="own")

    def _transport(self) -> Any:
        os.environ["PAIGEANT_SQLITE_PATH"] = str(Path(self.tmp) / "bench.db")
        os.environ["PAIGEANT_SQLITE_SYNCHRONOUS"] = self.a.sync
        for name, variable in BROKERS.items():
            if variable in os.environ:
                os.environ[f"PAIGEANT_{name.upper()}_URL"] = os.environ[variable]
        if self.a.store in ("none", "redis"):
            os.environ["PAIGEANT_STATE_STORE"] = self.a.store
        elif self.a.store == "separate":
            os.environ["PAIGEANT_STATE_STORE"] = f"sqlite://{self.tmp}/state.db"
        return get_transport(self.a.transport, namespace=f"bench-{Path(self.tmp).name.lower().replace('.', '-')}")

    async def connect(self) -> None:
        self.transport = self._transport()
        await self.transport.connect()
        self.dispatcher = WorkflowDispatcher(self.transport)
        self.client = WorkflowClient(self.transport)

    async def start(self, wf: str, p: Any) -> Any:
        slip = [
            ActivitySpec(name="a", arguments={"p": p}),
            ActivitySpec(name="b", arguments={"p": ResultOf("a")}),
            ActivitySpec(name="c", arguments={"p": ResultOf("b")}),
        ]
        return await self.dispatcher.dispatch_workflow(slip)

    async def wait(self, handle: Any) -> Any:
        return (await self.client.result(handle, timeout=120)).results["c"]

    async def close(self) -> None:
        await self.client.close()
        await self.dispatcher.close()
        await self.transport.disconnect()

    async def worker(self) -> None:
        worker = Worker(self._transport(), [_step(s) for s in "ABC"], concurrency=self.a.concurrency)
        with long_running():  # as `paigeant worker` and `run_sync` do
            async with worker:
                ready()
                await asyncio.Event().wait()


if __name__ == "__main__":
    main(Chain)
