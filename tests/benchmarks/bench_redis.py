"""The Redis transport beside the bare client, on a server of its own: the same work, as ratios within one run.

The bare client does what it can do best: whole batches in one MULTI. CPU is that of this process and of the
server, per message.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis.asyncio as bare
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

sys.path.insert(0, str(Path(__file__).parents[1]))

from paigeant.abc import Consumer, Delivery
from paigeant.model.message import Message, Publication
from paigeant.model.store import ABSENT, Write
from paigeant_redis.settings import RedisSettings
from paigeant_redis.transport import RedisTransport
from rig.brokers import RedisServer

COUNT, AT_ONCE, BODY = 20_000, 100, bytes(1024)
HEADERS = {"content-type": "application/x-paigeant", "paigeant-wf": "0" * 32}


class Meter:
    """Wall and CPU time of a piece of work."""

    def __init__(self, server: RedisServer) -> None:
        self.pid = server.pid

    def server_cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    async def measure(self, what: str, work: Callable[[], Awaitable[object]], count: int, base: float = 0) -> float:
        before, client, server = time.perf_counter(), time.process_time(), self.server_cpu()
        await work()
        wall = time.perf_counter() - before
        client, server = time.process_time() - client, self.server_cpu() - server
        rate = count / wall
        ratio = f"{rate / base:6.2f} of bare" if base else " " * 14
        cost = f"{client / count * 1e6:5.1f} us here, {server / count * 1e6:5.1f} us there"
        print(f"{what:41} {rate:9.0f}/s {ratio}   {cost}")
        return rate


async def at_once(work: Callable[[int], Awaitable[object]], count: int, workers: int = AT_ONCE) -> None:
    """``work`` for each number, from that many tasks."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(workers)))


def message(number: int) -> Message:
    return Message(f"{number:032x}", BODY, HEADERS)


async def bare_publish(client: bare.Redis, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        pipe = client.pipeline(transaction=True)
        for _ in range(start, min(start + AT_ONCE, count)):
            pipe.xadd("s:a", {"p": BODY})
        await pipe.execute()


async def bare_hops(client: bare.Redis, count: int) -> None:
    while count > 0:
        got = await client.xreadgroup("g", "c", {"s:a": ">"}, count=AT_ONCE)
        pipe = client.pipeline(transaction=True)
        for _, entries in got:
            for entry, fields in entries:
                pipe.xadd("s:b", {"p": fields[b"p"]})
                pipe.xack("s:a", "g", entry)
                pipe.xdel("s:a", entry)
                count -= 1
        await pipe.execute()


async def bare_sets(client: bare.Redis, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        pipe = client.pipeline(transaction=True)
        for number in range(start, min(start + AT_ONCE, count)):
            pipe.set(f"k:{number % 1000}", BODY)
        await pipe.execute()


async def bare_gets(client: bare.Redis, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        await client.mget([f"k:{number % 1000}" for number in range(start, start + AT_ONCE)])


async def hops(consumer: Consumer, count: int, settle: Callable[[Delivery], Awaitable[None]]) -> None:
    """Receive into free slots and settle each delivery in a task of its own, as a worker does."""
    running: set[asyncio.Task[None]] = set()
    done = asyncio.Event()

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        done.set()
        task.result()

    while count > 0:
        while len(running) >= AT_ONCE:
            done.clear()
            await done.wait()
        for delivery in await consumer.receive(min(count, AT_ONCE - len(running))):
            count -= 1
            task = asyncio.create_task(settle(delivery))
            running.add(task)
            task.add_done_callback(ended)
    await asyncio.gather(*running)


async def transport_part(meter: Meter, transport: RedisTransport, rates: dict[str, float]) -> None:
    async def publish(number: int) -> None:
        await transport.publish(Publication("a", message(number)))

    async def forward(delivery: Delivery) -> None:
        await delivery.settle(Publication("b", message(int(delivery.message.id, 16))))

    async def commit(delivery: Delivery) -> None:
        number = int(delivery.message.id, 16)
        write = Write(f"run/{number}/0", BODY, ABSENT)
        await delivery.settle(Publication("c", message(number)), writes=[write])

    await meter.measure("publish", lambda: at_once(publish, COUNT), COUNT, rates["publish"])
    async with transport.consume(["a"], lease=30) as consumer:
        await meter.measure(
            "receive, settle with a successor", lambda: hops(consumer, COUNT, forward), COUNT, rates["hop"]
        )
    async with transport.consume(["b"], lease=30) as consumer:
        await meter.measure("the same with a write", lambda: hops(consumer, COUNT, commit), COUNT, rates["hop"])


async def store_part(meter: Meter, transport: RedisTransport, rates: dict[str, float]) -> None:
    store = transport.state_store()
    await meter.measure(
        "store: put", lambda: at_once(lambda n: store.put(f"k/{n % 1000}", BODY), COUNT), COUNT, rates["put"]
    )
    await meter.measure("store: get", lambda: at_once(lambda n: store.get(f"k/{n % 1000}"), COUNT), COUNT, rates["get"])


async def latency(transport: RedisTransport, client: bare.Redis) -> None:
    """From publish to receipt by an idle receiver, one at a time."""
    ours: list[float] = []
    theirs: list[float] = []
    async with transport.consume(["idle"], lease=30) as consumer:
        for number in range(500):
            waiting = asyncio.ensure_future(consumer.receive(10))
            await asyncio.sleep(0.002)
            start = time.perf_counter()
            await transport.publish(Publication("idle", message(number)))
            (delivery,) = await waiting
            ours.append(time.perf_counter() - start)
            await delivery.settle()
    await client.xgroup_create("s:idle", "g", id="0", mkstream=True)
    for _ in range(500):
        reading = asyncio.ensure_future(client.xreadgroup("g", "c", {"s:idle": ">"}, count=10, block=1000))
        await asyncio.sleep(0.002)
        start = time.perf_counter()
        await client.xadd("s:idle", {"p": BODY})
        await reading
        theirs.append(time.perf_counter() - start)
    for name, times in (("idle receiver", ours), ("idle receiver, bare", theirs)):
        times.sort()
        print(f"{name:41} p50 {times[250] * 1e3:.2f} ms, p99 {times[495] * 1e3:.2f} ms")


async def run(server: RedisServer) -> None:
    meter = Meter(server)
    client = bare.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
    await client.xgroup_create("s:a", "g", id="0", mkstream=True)
    rates = {
        "publish": await meter.measure("bare: XADD, 100 in one MULTI", lambda: bare_publish(client, COUNT), COUNT),
        "hop": await meter.measure(
            "bare: read 100, MULTI of XADD, XACK, XDEL", lambda: bare_hops(client, COUNT), COUNT
        ),
        "put": await meter.measure("bare: SET, 100 in one MULTI", lambda: bare_sets(client, COUNT), COUNT),
        "get": await meter.measure("bare: MGET of 100", lambda: bare_gets(client, COUNT), COUNT),
    }
    await client.flushall()
    async with RedisTransport(RedisSettings(url=server.url)) as transport:
        await transport_part(meter, transport, rates)
        await store_part(meter, transport, rates)
        await latency(transport, client)
    await client.aclose()


def main() -> None:
    logging.basicConfig(level="WARNING")
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as server:
        asyncio.run(run(server))


if __name__ == "__main__":
    main()
