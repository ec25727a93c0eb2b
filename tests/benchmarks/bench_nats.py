"""The NATS transport beside nats-py alone, on a server of its own: the same work, as ratios within one run.

The bare client does what its documentation shows, with message ids and confirmed acknowledgements. CPU is that of
this process and of the server, per message.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
from nats.js.api import AckPolicy, ConsumerConfig, StorageType, StreamConfig
from nats.js.client import JetStreamContext

sys.path.insert(0, str(Path(__file__).parents[1]))

from paigeant.abc import Consumer, Delivery
from paigeant.model.message import Message, Publication
from paigeant.model.store import ABSENT
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer

COUNT, AT_ONCE, BODY = 20_000, 100, bytes(1024)
HEADERS = {"content-type": "application/x-paigeant"}


class Meter:
    """Wall and CPU time of a piece of work."""

    def __init__(self, server: NatsServer) -> None:
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


class Slots:
    """A task per message, at most ``AT_ONCE`` of them, as a worker does."""

    def __init__(self) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def free(self) -> int:
        while len(self.running) >= AT_ONCE:
            self._ended.clear()
            await self._ended.wait()
        return AT_ONCE - len(self.running)

    def start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        self._ended.set()
        task.result()


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


async def hops(consumer: Consumer, count: int, settle: Callable[[Delivery], Awaitable[None]]) -> None:
    slots = Slots()
    while count > 0:
        for delivery in await consumer.receive(min(count, await slots.free())):
            count -= 1
            slots.start(settle(delivery))
    await asyncio.gather(*slots.running)


async def bare_part(meter: Meter, url: str) -> dict[str, float]:
    client = await nats.connect(url)
    js = client.jetstream(timeout=30)
    await js.add_stream(StreamConfig(name="RAW", subjects=["raw.>"], storage=StorageType.FILE))
    kv = await js.create_key_value(bucket="raw", history=1)

    async def publish(number: int) -> None:
        await js.publish("raw.a", BODY, headers={"Nats-Msg-Id": f"{number:032x}"})

    rates = {
        "publish": await meter.measure("nats-py: publish", lambda: at_once(publish, COUNT), COUNT),
        "hop": await meter.measure("nats-py: fetch, publish, ack_sync", lambda: bare_hops(js, COUNT), COUNT),
        "put": await meter.measure("nats-py: kv.put", lambda: at_once(lambda n: kv.put(f"k.{n}", BODY), COUNT), COUNT),
        "get": await meter.measure("nats-py: kv.get", lambda: at_once(lambda n: kv.get(f"k.{n}"), COUNT), COUNT),
    }
    await client.close()
    return rates


async def transport_part(meter: Meter, transport: NatsTransport, rates: dict[str, float], count: int) -> None:
    async def publish(number: int) -> None:
        await transport.publish(Publication("a", message(number)))

    async def forward(delivery: Delivery) -> None:
        await delivery.settle(Publication("b", message(int(delivery.message.id, 16))))

    await meter.measure("publish", lambda: at_once(publish, count), count, rates["publish"])
    async with transport.consume(["a"], lease=30) as consumer:
        await meter.measure(
            "receive, settle with a successor", lambda: hops(consumer, count, forward), count, rates["hop"]
        )


async def store_part(meter: Meter, transport: NatsTransport, rates: dict[str, float]) -> None:
    store = transport.state_store()
    revisions: dict[int, int] = {}

    async def create(number: int) -> None:
        revisions[number] = await store.put(f"run/{number}/0", BODY, expected=ABSENT, due=2e9)

    async def change(number: int) -> None:
        await store.put(f"run/{number}/0", BODY, expected=revisions[number], due=2e9 + 1)

    await meter.measure("store: put of a new key, with its hint", lambda: at_once(create, COUNT), COUNT, rates["put"])
    await meter.measure("store: put expecting a revision", lambda: at_once(change, COUNT), COUNT, rates["put"])
    await meter.measure("store: get", lambda: at_once(lambda n: store.get(f"run/{n}/0"), COUNT), COUNT, rates["get"])


async def latency_part(transport: NatsTransport, samples: int = 300) -> None:
    """From publish to receipt, the receiver idle."""
    times: list[float] = []
    async with transport.clone() as other, transport.consume(["idle-a", "idle-b"], lease=30) as consumer:
        for number in range(samples):
            waiting = asyncio.ensure_future(consumer.receive(100))
            await asyncio.sleep(0.005)  # let it wait: an idle receiver is what is measured
            start = time.perf_counter()
            await other.publish(Publication(f"idle-{'ab'[number % 2]}", message(number)))
            [delivery] = await waiting
            times.append((time.perf_counter() - start) * 1000)
            await delivery.settle()
    times.sort()
    print(f"idle receiver, published until received: p50 {times[samples // 2]:.2f} ms, p99 {times[-4]:.2f} ms")


async def main() -> None:
    logging.disable()
    with tempfile.TemporaryDirectory() as directory, NatsServer(Path(directory)) as server:
        meter = Meter(server)
        rates = await bare_part(meter, server.url)
        async with NatsTransport(NatsSettings(url=server.url)) as transport:
            await transport_part(meter, transport, rates, COUNT)
            await store_part(meter, transport, rates)
            await latency_part(transport)
        print("atomic:")
        async with NatsTransport(NatsSettings(url=server.url, namespace="atomic", atomic=True)) as transport:
            await transport_part(meter, transport, rates, COUNT)


if __name__ == "__main__":
    asyncio.run(main())
