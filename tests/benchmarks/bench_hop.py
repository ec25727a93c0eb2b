"""CPU of a whole hop on the in-memory transport: open, verify HS256, run a no-op, seal, settle.

    python tests/benchmarks/bench_hop.py [--workflows 2000] [--profile]

All workflows are dispatched first; then the worker's CPU is read over all their hops. Compared with a
bare asyncio queue that decodes and encodes the same JSON per step, in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import time
from typing import Any

from paigeant import ActivitySpec, ResultOf, Worker, WorkflowClient, WorkflowDispatcher, activity, get_transport
from paigeant.runtime.process import long_running

FILLER = "x" * 900


def _step(name: str) -> Any:
    @activity(name)
    async def step(p: dict[str, Any]) -> dict[str, Any]:
        p["steps"].append({"step": name, "ok": True, "out": 42})
        return p

    return step


ACTIVITIES = [_step("a"), _step("b"), _step("c")]


def _slip(index: int) -> list[ActivitySpec]:
    payload = {"id": str(index), "prompt": FILLER, "meta": {"tenant": "t1", "n": 7}, "steps": []}
    return [
        ActivitySpec(name="a", arguments={"p": payload}),
        ActivitySpec(name="b", arguments={"p": ResultOf("a")}),
        ActivitySpec(name="c", arguments={"p": ResultOf("b")}),
    ]


async def hops(workflows: int, profile: bool) -> tuple[float, float]:
    """CPU and wall seconds per hop."""
    async with (
        get_transport("inmemory") as transport,
        WorkflowDispatcher(transport) as dispatcher,
        WorkflowClient(transport) as client,
    ):
        ids = [await dispatcher.dispatch_workflow(_slip(n)) for n in range(workflows)]
        worker = Worker(transport, ACTIVITIES, concurrency=100)
        profiler = cProfile.Profile()
        cpu, wall = time.process_time(), time.perf_counter()
        if profile:
            profiler.enable()
        async with worker:
            # Each workflow is FIFO among the others, so the last dispatched ends about last.
            await client.result(ids[-1], timeout=120)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            profiler.disable()
            for one in ids:
                await client.result(one, timeout=120)
        if profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    return cpu / workflows / 3, wall / workflows / 3


async def bare(workflows: int) -> float:
    """CPU seconds per step of asyncio queues with the same JSON in and out."""
    queues = [asyncio.Queue[str]() for _ in range(4)]
    for index in range(workflows):
        queues[0].put_nowait(json.dumps(_slip(index)[0].arguments["p"]))

    async def serve(source: asyncio.Queue[str], target: asyncio.Queue[str]) -> None:
        while True:
            payload = json.loads(await source.get())
            payload["steps"].append({"step": "a", "ok": True, "out": 42})
            target.put_nowait(json.dumps(payload))

    cpu = time.process_time()
    tasks = [asyncio.create_task(serve(queues[n], queues[n + 1])) for n in range(3)]
    for _ in range(workflows):
        await queues[3].get()
    cpu = time.process_time() - cpu
    for task in tasks:
        task.cancel()
    return cpu / workflows / 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workflows", type=int, default=2000)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    baseline = asyncio.run(bare(arguments.workflows))
    with long_running():  # as `paigeant worker` and `run_sync` do
        cpu, wall = asyncio.run(hops(arguments.workflows, arguments.profile))
    print(f"hop: {cpu * 1e6:.0f} us CPU, {wall * 1e6:.0f} us wall; bare queue with JSON: {baseline * 1e6:.1f} us CPU")
    print(f"ratio: {cpu / baseline:.1f}")


if __name__ == "__main__":
    main()
