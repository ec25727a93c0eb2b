"""The Redis transport beside the bare client, on a server of its own: the same work, as ratios within one run.

    python tests/benchmarks/bench_redis.py [messages]

The bare client does what it can do best: whole batches in one MULTI. CPU is that of this process and of the
server, per message.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import redis.asyncio as bare
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from scaffold import AT_ONCE, BODY, Meter, Settle, hops, message, print_latency, renumbered, wake

sys.path.insert(0, str(Path(__file__).parents[1]))

from paigeant.abc import Delivery
from paigeant.model.message import Publication
from paigeant.model.store import ABSENT, Write
from paigeant_redis.settings import RedisSettings
from paigeant_redis.transport import RedisTransport
from rig.brokers import RedisServer


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


async def transport_part(meter: Meter, transport: RedisTransport, rates: dict[str, float]) -> None:
    async def publish(number: int) -> None:
        await transport.publish(Publication("a", message(number)))

    async def forward(delivery: Delivery) -> None:
        await delivery.settle(Publication("b", renumbered(delivery)))

    async def commit(delivery: Delivery) -> None:
        write = Write(f"run/{delivery.message.id}/0", BODY, ABSENT)
        await delivery.settle(Publication("c", renumbered(delivery)), writes=[write])

    async def stage(queue: str, what: str, settle: Settle) -> None:
        async with transport.consume([queue], lease=30) as consumer:
            await meter.measure(what, lambda count: hops(consumer, count, settle), rates["hop"])

    await meter.each("publish", publish, rates["publish"])
    await stage("a", "receive, settle with a successor", forward)
    await stage("b", "the same with a write", commit)


async def store_part(meter: Meter, transport: RedisTransport, rates: dict[str, float]) -> None:
    store = transport.state_store()
    await meter.each("store: put", lambda n: store.put(f"k/{n % 1000}", BODY), rates["put"])
    await meter.each("store: get", lambda n: store.get(f"k/{n % 1000}"), rates["get"])


async def latency(transport: RedisTransport, client: bare.Redis) -> None:
    """From publish to receipt by an idle receiver, one at a time."""
    ours: list[float] = []
    theirs: list[float] = []
    async with transport.consume(["idle"], lease=30) as consumer:
        for number in range(500):
            publication = Publication("idle", message(number))
            [delivery], took = await wake(consumer.receive(10), transport.publish(publication))
            ours.append(took)
            await delivery.settle()
    await client.xgroup_create("s:idle", "g", id="0", mkstream=True)
    for _ in range(500):
        reading = client.xreadgroup("g", "c", {"s:idle": ">"}, count=10, block=1000)
        _, took = await wake(reading, client.xadd("s:idle", {"p": BODY}))
        theirs.append(took)
    print_latency("idle receiver", ours)
    print_latency("idle receiver, bare", theirs)


async def run(server: RedisServer, count: int) -> None:
    meter = Meter(server.pid, count)
    client = bare.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
    await client.xgroup_create("s:a", "g", id="0", mkstream=True)
    hop = "bare: read 100, MULTI of XADD, XACK, XDEL"
    rates = {
        "publish": await meter.measure("bare: XADD, 100 in one MULTI", lambda n: bare_publish(client, n)),
        "hop": await meter.measure(hop, lambda n: bare_hops(client, n)),
        "put": await meter.measure("bare: SET, 100 in one MULTI", lambda n: bare_sets(client, n)),
        "get": await meter.measure("bare: MGET of 100", lambda n: bare_gets(client, n)),
    }
    await client.flushall()
    async with RedisTransport(RedisSettings(url=server.url)) as transport:
        await transport_part(meter, transport, rates)
        await store_part(meter, transport, rates)
        await latency(transport, client)
    await client.aclose()


def main() -> None:
    logging.basicConfig(level="WARNING")
    usual = {"appendfsync": "everysec"}  # as most servers run
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory), config=usual) as server:
        asyncio.run(run(server, int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))


if __name__ == "__main__":
    main()
