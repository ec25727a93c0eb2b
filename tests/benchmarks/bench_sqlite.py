"""SQLite transport and store against a bare ``sqlite3`` loop, in one run: ``python tests/benchmarks/bench_sqlite.py``.

A hop is what a worker does for one: receive, get one entry, settle with one publication of 3 KiB and two writes
(300 B and 1 KiB). The bare loop does the same statements, batched by hand, in one thread without an event loop.
Prints one JSON line. Ratios matter, not absolute numbers: disks and neighbours differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paigeant.abc.transport import Delivery
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

BODY, CURSOR, HISTORY = b"b" * 3072, b"c" * 300, b"h" * 1024
QUEUES = ["bench-a", "bench-b", "bench-c"]
LEASE = 30.0


def successor(number: int) -> Publication:
    return Publication(
        QUEUES[number % 3], Message(f"message-{number:032d}", BODY, {"content-type": "application/jose"})
    )


async def hops(path: Path, flights: int, seconds: float) -> dict[str, float]:
    """Keep ``flights`` messages going round; give hops per second and CPU per hop."""
    async with SqliteTransport(path) as transport:
        store = transport.state_store()
        await transport.publish(*(successor(n) for n in range(flights)))
        done, free = flights, flights
        room = asyncio.Event()
        async with transport.consume(QUEUES, lease=LEASE) as consumer:

            async def hop(delivery: Delivery) -> None:
                nonlocal done, free
                key = f"run/{delivery.message.id}/0"
                entry = await store.get(key)
                done += 1
                cursor = Write(f"run/message-{done:032d}/0", CURSOR, ttl=60.0)
                history = Write(f"hist/message-{done:032d}/0/1", HISTORY, ttl=60.0)
                assert (entry is None) == (done <= 2 * flights)
                await delivery.settle(successor(done), writes=(cursor, history))
                free += 1
                room.set()

            start, cpu, first = time.perf_counter(), time.process_time(), done
            async with asyncio.TaskGroup() as group:
                while time.perf_counter() < start + seconds:
                    room.clear()
                    if not free:
                        await room.wait()
                    deliveries = await consumer.receive(free)
                    free -= len(deliveries)
                    for delivery in deliveries:
                        group.create_task(hop(delivery))
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    count = done - first
    return {"hops_per_s": count / wall, "cpu_us_per_hop": cpu / count * 1e6}


def bare(path: Path, flights: int, seconds: float) -> dict[str, float]:
    """The same work with nothing around it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE q(id INTEGER PRIMARY KEY, step TEXT, lease REAL, mid TEXT, headers TEXT, body BLOB)"
    )
    connection.execute("CREATE INDEX ready ON q(id) WHERE lease = 0")
    connection.execute("CREATE TABLE kv(key TEXT PRIMARY KEY, revision INTEGER, value BLOB, expires REAL)")
    claim = (
        "UPDATE q SET lease = ? WHERE id IN (SELECT id FROM q WHERE lease = 0 ORDER BY id LIMIT ?) "
        "RETURNING id, mid, body"
    )
    insert = "INSERT INTO q(step, lease, mid, headers, body) VALUES ('a', 0, ?, '{}', ?)"
    put = "INSERT OR REPLACE INTO kv VALUES (?, 1, ?, ?)"
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(insert, [(f"message-{n:032d}", BODY) for n in range(flights)])
    rows = connection.execute(claim, (time.time(), flights)).fetchall()
    connection.execute("COMMIT")
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() < start + seconds:
        for _, mid, _ in rows:
            connection.execute("SELECT value FROM kv WHERE key = ?", (f"run/{mid}/0",)).fetchone()
        connection.execute("BEGIN IMMEDIATE")
        for number, _, _ in rows:
            count += 1
            connection.execute("DELETE FROM q WHERE id = ?", (number,))
            connection.execute(insert, (f"message-{count:032d}", BODY))
            connection.execute(put, (f"run/message-{count:032d}/0", CURSOR, time.time() + 60))
            connection.execute(put, (f"hist/message-{count:032d}/0/1", HISTORY, time.time() + 60))
        rows = connection.execute(claim, (time.time(), flights)).fetchall()
        connection.execute("COMMIT")
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    connection.close()
    return {"hops_per_s": count / wall, "cpu_us_per_hop": cpu / count * 1e6}


async def echo(path: Path) -> None:
    """The other process: notes when each message arrived."""
    async with SqliteTransport(path) as transport, transport.consume(["ping"], lease=LEASE) as consumer:
        print("ready", flush=True)
        while True:
            for delivery in await consumer.receive(10):
                print(time.monotonic(), flush=True)
                await delivery.settle()


async def latency(path: Path, samples: int) -> dict[str, float]:
    """Publish to receive in another, idle process, in milliseconds; the bell is after the fsync."""
    command = [sys.executable, __file__, "--echo", str(path)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        found = []
        async with SqliteTransport(path) as transport:
            for n in range(samples):
                await asyncio.sleep(0.01)
                start = time.monotonic()
                await transport.publish(Publication("ping", Message(str(n), BODY)))
                found.append((float(await process.stdout.readline()) - start) * 1e3)
    finally:
        process.kill()
        await process.wait()
    found.sort()
    return {"p50_ms": statistics.median(found), "p99_ms": found[int(len(found) * 0.99)]}


async def idle(path: Path, seconds: float) -> float:
    """Share of a core that a waiting consumer uses."""
    async with SqliteTransport(path) as transport, transport.consume(QUEUES, lease=LEASE) as consumer:
        waiting = asyncio.create_task(consumer.receive(1))
        await asyncio.sleep(0.1)
        cpu = time.process_time()
        await asyncio.sleep(seconds)
        cpu = time.process_time() - cpu
        waiting.cancel()
        await asyncio.wait([waiting])
    return cpu / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--echo", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--flights", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.echo:
        asyncio.run(echo(arguments.echo))
        return
    with tempfile.TemporaryDirectory() as directory:
        raw = bare(Path(directory, "raw.db"), arguments.flights, arguments.seconds)
        ours = asyncio.run(hops(Path(directory, "ours.db"), arguments.flights, arguments.seconds))
        wake = asyncio.run(latency(Path(directory, "bell.db"), 200))
        share = asyncio.run(idle(Path(directory, "idle.db"), arguments.seconds))
    ratio = ours["hops_per_s"] / raw["hops_per_s"]
    print(json.dumps({"bare": raw, "ours": ours, "ratio": ratio, "latency": wake, "idle_core_share": share}))


if __name__ == "__main__":
    main()
