"""The NATS transport beside nats-py alone, on a server of its own: the same work, as ratios within one run.

    python tests/benchmarks/bench_nats.py [messages]

The bare client does what its documentation shows, with message ids and confirmed acknowledgements. CPU is that of
this process and of the server, per message.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import nats
from nats.js.api import AckPolicy, ConsumerConfig, StorageType, StreamConfig
from nats.js.client import JetStreamContext
from scaffold import BODY, Meter, Slots, hops, message, print_latency, renumbered, wake

sys.path.insert(0, str(Path(__file__).parents[1]))

from paigeant.abc import Delivery
from paigeant.model.message import Publication
from paigeant.model.store import ABSENT
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer


async def bare_hops(js: JetStreamContext, count: int) -> None:
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=1000)
    subscription = await js.pull_subscribe("raw.a", durable="w", stream="RAW", config=config)
    slots = Slots()

    async def hop(msg: nats.aio.msg.Msg) -> None:
        assert msg.headers is not None
        await js.publish("raw.b", msg.data, headers={"Nats-Msg-Id": msg.headers["Nats-Msg-Id"] + "b"})
        await msg.ack_sync()

    while count > 0:
        for msg in await subscription.fetch(min(count, await slots.free()), timeout=5):
            count -= 1
            slots.start(hop(msg))
    await asyncio.gather(*slots.running)


async def bare_part(meter: Meter, url: str) -> dict[str, float]:
    client = await nats.connect(url)
    js = client.jetstream(timeout=30)
    await js.add_stream(StreamConfig(name="RAW", subjects=["raw.>"], storage=StorageType.FILE))
    kv = await js.create_key_value(bucket="raw", history=1)

    async def publish(number: int) -> None:
        await js.publish("raw.a", BODY, headers={"Nats-Msg-Id": f"{number:032x}"})

    rates = {
        "publish": await meter.each("nats-py: publish", publish),
        "hop": await meter.measure("nats-py: fetch, publish, ack_sync", lambda count: bare_hops(js, count)),
        "put": await meter.each("nats-py: kv.put", lambda n: kv.put(f"k.{n}", BODY)),
        "get": await meter.each("nats-py: kv.get", lambda n: kv.get(f"k.{n}")),
    }
    await client.close()
    return rates


async def transport_part(meter: Meter, transport: NatsTransport, rates: dict[str, float]) -> None:
    async def publish(number: int) -> None:
        await transport.publish(Publication("a", message(number)))

    async def forward(delivery: Delivery) -> None:
        await delivery.settle(Publication("b", renumbered(delivery)))

    await meter.each("publish", publish, rates["publish"])
    async with transport.consume(["a"], lease=30) as consumer:
        hop = "receive, settle with a successor"
        await meter.measure(hop, lambda count: hops(consumer, count, forward), rates["hop"])


async def store_part(meter: Meter, transport: NatsTransport, rates: dict[str, float]) -> None:
    store = transport.state_store()
    revisions: dict[int, int] = {}

    async def create(number: int) -> None:
        revisions[number] = await store.put(f"run/{number}/0", BODY, expected=ABSENT, due=2e9)

    async def change(number: int) -> None:
        await store.put(f"run/{number}/0", BODY, expected=revisions[number], due=2e9 + 1)

    await meter.each("store: put of a new key, with its hint", create, rates["put"])
    await meter.each("store: put expecting a revision", change, rates["put"])
    await meter.each("store: get", lambda n: store.get(f"run/{n}/0"), rates["get"])


async def latency(transport: NatsTransport) -> None:
    """From publish to receipt by an idle receiver, one at a time."""
    times: list[float] = []
    async with transport.clone() as other, transport.consume(["idle-a", "idle-b"], lease=30) as consumer:
        for number in range(300):
            publication = Publication(f"idle-{'ab'[number % 2]}", message(number))
            [delivery], took = await wake(consumer.receive(100), other.publish(publication))
            times.append(took)
            await delivery.settle()
    print_latency("idle receiver", times)


async def main(count: int) -> None:
    logging.disable()
    with tempfile.TemporaryDirectory() as directory, NatsServer(Path(directory)) as server:
        meter = Meter(server.pid, count)
        rates = await bare_part(meter, server.url)
        async with NatsTransport(NatsSettings(url=server.url)) as transport:
            await transport_part(meter, transport, rates)
            await store_part(meter, transport, rates)
            await latency(transport)
        print("atomic:")
        async with NatsTransport(NatsSettings(url=server.url, namespace="atomic", atomic=True)) as transport:
            await transport_part(meter, transport, rates)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
