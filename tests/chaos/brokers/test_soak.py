"""Many messages and many workflows: memory stays flat on both sides, and nothing piles up on the broker."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from paigeant import get_transport
from paigeant.abc import Consumer, Transport
from paigeant.model.message import Message, Publication
from rig.clusters.redis import client
from rig.rabbit import RabbitServer
from rig.server import Server

from .conftest import Servers, Stage
from .places import BROKERS, place
from .report import PROOF, save

MESSAGES = 200_000 if PROOF else 4_000
WORKFLOWS = 5_000 if PROOF else 60
CONCURRENCY = 100
DEDUP_WINDOW = "5"
"""Seconds for which nats-server remembers every message id, in memory: short enough to see past it."""
PARTS = 5
"""Memory is looked at after each fifth; the first is for warming up."""
MIB = 1024
GROWTH = 1.25
SLACK = {"client": 16 * MIB, "redis": 16 * MIB, "nats": 48 * MIB, "rabbitmq": 160 * MIB, "worker": 24 * MIB}
"""KiB that memory may grow after the warm-up, beyond a quarter: garbage that nobody had to collect yet."""


def resident(process: int | str = "self") -> int:
    """KiB of memory."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def family(process: int) -> int:
    """KiB of the largest in the process group: RabbitMQ's Erlang machine runs below its script."""
    members = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _group(entry) == process and (entry / "status").exists()
    ]
    return max(map(resident, members))


def _group(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[2])
    except OSError:
        return -1


def things(server: Server) -> int:
    """Keys, or streams and their consumers and messages, or queues: whatever could pile up."""
    if server.name == "redis":
        with client(server) as asked:  # type: ignore[arg-type]
            return int(asked.dbsize())
    if isinstance(server, RabbitServer):
        return len(json.loads(server.control("list_queues", "name", "--formatter", "json")))
    with urlopen(f"http://{server.config['http']}/jsz", timeout=5) as answer:
        state = json.load(answer)
    return int(state["streams"] + state["consumers"] + state["messages"])


def flat(name: str, samples: list[int], slack: int) -> None:
    assert samples[-1] <= samples[0] * GROWTH + slack, f"{name} grew: {samples} KiB"


async def send(transport: Transport, count: int) -> None:
    numbers, body = iter(range(count)), secrets.token_bytes(1024)

    async def sender() -> None:
        for _ in numbers:
            await transport.publish(Publication("soak", Message(secrets.token_hex(16), body)))

    await asyncio.gather(*(sender() for _ in range(CONCURRENCY)))


async def settle(consumer: Consumer, count: int) -> None:
    while count:
        deliveries = await consumer.receive(min(CONCURRENCY, count))
        await asyncio.gather(*(delivery.settle() for delivery in deliveries))
        count -= len(deliveries)


@pytest.mark.timeout(3000 if PROOF else 200)
@pytest.mark.parametrize("broker", BROKERS)
async def test_messages(broker: str, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers(broker)
    more = {"PAIGEANT_NAMESPACE": f"soak-{secrets.token_hex(4)}", "PAIGEANT_NATS_DEDUP_WINDOW": DEDUP_WINDOW}
    for variable, value in (server.environment | more).items():
        monkeypatch.setenv(variable, value)
    ours, theirs, left = list[int](), list[int](), list[int]()
    async with get_transport() as transport, transport.consume(["soak"], lease=30.0) as consumer:
        began = asyncio.get_running_loop().time()
        for _ in range(PARTS):
            await asyncio.gather(send(transport, MESSAGES // PARTS), settle(consumer, MESSAGES // PARTS))
            ours.append(resident())
            theirs.append(family(server.pid))
            left.append(await asyncio.to_thread(things, server))
        seconds = asyncio.get_running_loop().time() - began
        stats = (await transport.queues("soak"))["soak"]
    figures = {
        "messages": MESSAGES,
        "seconds": round(seconds, 1),
        "client KiB": ours,
        "broker KiB": theirs,
        "left": left,
    }
    save(f"{broker}-soak-messages", figures)
    print(figures)
    assert (stats.ready, stats.in_flight or 0, stats.delayed or 0) == (0, 0, 0)
    flat("the client", ours, SLACK["client"])
    flat(broker, theirs, SLACK[broker])
    assert left[-1] <= left[0] + 2, f"something piles up: {left}"


def sampling(server: Server, samples: dict[str, list[int]]) -> Callable[[Any], Any]:
    async def disturb(storm: Any) -> None:
        for _ in range(storm.report.strikes):
            await nothing_once(storm)
            samples["worker"].append(max(resident(worker.pid) for worker in storm.fleet.workers))
            samples["broker"].append(family(server.pid))

    return disturb


async def nothing_once(storm: Any) -> None:
    async with storm.dispatching():
        pass
    await storm.eventually(lambda: storm.finished, "the end of a part")


@pytest.mark.timeout(3000 if PROOF else 200)
@pytest.mark.parametrize("broker", BROKERS)
async def test_workflows(broker: str, servers: Servers, stage: Stage, tmp_path: Path) -> None:
    """Without a store, so that nothing may remain at all."""
    server = servers(broker)
    there = place(broker, "none", server, tmp_path)
    samples: dict[str, list[int]] = {"worker": [], "broker": []}
    options = {"workflows": WORKFLOWS, "strikes": PARTS, "workers": 1, "pace": 0.0}
    storm = stage(there, f"{broker}-soak-workflows", **options, PAIGEANT_CONCURRENCY="100")  # type: ignore[arg-type]
    await storm.run(sampling(server, samples))
    save(f"{broker}-soak-workflows-memory", {"workflows": WORKFLOWS, **samples})
    print(samples)
    flat("the worker", samples["worker"], SLACK["worker"])
    flat(broker, samples["broker"], SLACK[broker])
