"""A worker over time: memory per workflow, and CPU while idle. SQLite, one worker process.

    python tests/benchmarks/bench_worker.py [--workflows 50000]

Prints the slope of the worker's resident memory (MiB per 10 000 workflows, least squares over the
second half of the samples) and the share of one core that it uses with nothing to do for 20 s.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_hop import ACTIVITIES, _slip
from scaffold import cpu_of

from paigeant import Worker, WorkflowClient, WorkflowDispatcher, get_transport
from paigeant.runtime.process import long_running


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(samples: list[tuple[int, float]]) -> float:
    """MiB per 10 000 workflows."""
    half = samples[len(samples) // 2 :]
    xs, ys = [x for x, _ in half], [y for _, y in half]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mx) ** 2 for x in xs) or 1.0
    return 10_000 * sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / spread


async def serve() -> None:
    with long_running():
        async with Worker(get_transport("sqlite"), ACTIVITIES, concurrency=100):
            print("READY", flush=True)
            await asyncio.Event().wait()


async def drive(pid: int, workflows: int) -> list[tuple[int, float]]:
    samples: list[tuple[int, float]] = []
    async with (
        get_transport("sqlite") as transport,
        WorkflowDispatcher(transport) as dispatcher,
        WorkflowClient(transport) as client,
    ):

        async def one(index: int) -> None:
            await client.result(await dispatcher.dispatch_workflow(_slip(index)), timeout=120)

        for start in range(0, workflows, 200):
            await asyncio.gather(*(one(start + n) for n in range(200)))
            samples.append((start + 200, resident(pid)))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workflows", type=int, default=50_000)
    parser.add_argument("--idle", type=float, default=20.0)
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        return asyncio.run(serve())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PAIGEANT_SQLITE_PATH"] = f"{folder}/bench.db"
        worker = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "READY\n"
            samples = asyncio.run(drive(worker.pid, arguments.workflows))
            before = cpu_of(worker.pid)
            asyncio.run(asyncio.sleep(arguments.idle))
            idle = (cpu_of(worker.pid) - before) / arguments.idle
        finally:
            worker.kill()
            worker.wait()
    step = max(1, len(samples) // 10)
    print("resident MiB:", ", ".join(f"{n}: {mib:.1f}" for n, mib in samples[::step]))
    print(f"slope: {slope(samples):.2f} MiB per 10 000 workflows; idle: {100 * idle:.2f} % of a core")
    return None


if __name__ == "__main__":
    main()
