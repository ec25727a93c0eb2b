"""The RabbitMQ transport beside the bare client (aio-pika), on the same work in one run.

    python tests/benchmarks/bench_rabbitmq.py [--url amqp://...] [--messages 3000] [--rounds 3] [--classic]

Without ``--url`` a private broker is started. Bodies of 1 KiB; 100 messages in flight.

*publish*: confirmed publications. *hop*: receive, publish the successor, await its confirm, acknowledge.
*cpu* is processor time of this process per message: of the client alone, whatever the broker does.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from scaffold import AT_ONCE, BODY, at_once, hops, message, renumbered

from paigeant.abc import Delivery
from paigeant.model.message import Publication
from paigeant_rabbitmq.settings import QueueType, RabbitMQSettings
from paigeant_rabbitmq.transport import RabbitMQTransport


@dataclass(frozen=True)
class Work:
    """What is measured, with what."""

    url: str
    messages: int
    queue_type: QueueType


@dataclass(frozen=True)
class Figure:
    """Messages a second, and seconds of processor time for a million of them."""

    rate: float
    cpu: float


Measured = Callable[[Work], Awaitable[dict[str, Figure]]]


async def bare(work: Work) -> dict[str, Figure]:
    """aio-pika as its documentation shows it, on two connections."""
    connections = [await aio_pika.connect(work.url) for _ in range(2)]
    out, into = await connections[0].channel(publisher_confirms=True), await connections[1].channel()
    await into.set_qos(prefetch_count=AT_ONCE)
    names = [f"bench-{uuid.uuid4().hex}" for _ in range(2)]
    arguments = {"x-queue-type": work.queue_type}
    queues = [await into.declare_queue(name, durable=True, arguments=dict(arguments)) for name in names]

    async def send(name: str) -> None:
        body = aio_pika.Message(BODY, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await out.default_exchange.publish(body, name)

    figures = {"publish": await timed(work.messages, at_once(lambda _: send(names[0]), work.messages))}
    left, all_done = work.messages, asyncio.Event()

    async def hop(received: AbstractIncomingMessage) -> None:
        nonlocal left
        await send(names[1])
        await received.ack()
        left -= 1
        if not left:
            all_done.set()

    async def consume() -> None:
        await queues[0].consume(hop)
        await all_done.wait()

    figures["hop"] = await timed(work.messages, consume())
    for queue in queues:
        await queue.delete(if_unused=False, if_empty=False)
    for connection in connections:
        await connection.close()
    return figures


async def ours(work: Work) -> dict[str, Figure]:
    """The transport, driven as a worker drives it: receive into free slots, settle with a successor."""

    async def publish(number: int) -> None:
        await transport.publish(Publication("a", message(number)))

    async def forward(delivery: Delivery) -> None:
        await delivery.settle(Publication("b", renumbered(delivery)))

    async def consume() -> None:
        async with transport.consume(["a"], lease=30) as consumer:
            await hops(consumer, work.messages, forward)

    settings = RabbitMQSettings(url=work.url, namespace=f"bench-{uuid.uuid4().hex[:8]}", queue_type=work.queue_type)
    async with RabbitMQTransport(settings) as transport:
        figures = {"publish": await timed(work.messages, at_once(publish, work.messages))}
        figures["hop"] = await timed(work.messages, consume())
        for queue in ("a", "b"):
            await transport.purge(queue)
    return figures


async def timed(number: int, work: Awaitable[None]) -> Figure:
    start, used = time.perf_counter(), time.process_time()
    await work
    return Figure(number / (time.perf_counter() - start), (time.process_time() - used) / number * 1e6)


def report(rounds: list[tuple[dict[str, Figure], dict[str, Figure]]]) -> None:
    """Medians, and the ratio of what was measured in the same round."""
    print("| work | aio-pika /s | transport /s | ratio | aio-pika CPU us | transport CPU us |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in rounds[0][0]:
        pairs = [(theirs[name], mine[name]) for theirs, mine in rounds]
        theirs, mine = (statistics.median(pair[side].rate for pair in pairs) for side in (0, 1))
        ratio = statistics.median(pair[1].rate / pair[0].rate for pair in pairs)
        cpus = [statistics.median(pair[side].cpu for pair in pairs) for side in (0, 1)]
        print(f"| {name} | {theirs:.0f} | {mine:.0f} | {ratio:.2f} | {cpus[0]:.0f} | {cpus[1]:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="the RabbitMQ transport beside aio-pika")
    parser.add_argument("--url")
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classic", action="store_true")
    given = parser.parse_args()
    if given.url:
        run(given.url, given)
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from rig.rabbit import RabbitServer

    with tempfile.TemporaryDirectory() as directory, RabbitServer(Path(directory)) as server:
        run(server.url, given)


def run(url: str, given: argparse.Namespace) -> None:
    work = Work(url, given.messages, "classic" if given.classic else "quorum")
    asyncio.run(bare(Work(url, 300, work.queue_type)))  # warm the broker up
    report([(asyncio.run(bare(work)), asyncio.run(ours(work))) for _ in range(given.rounds)])


if __name__ == "__main__":
    main()
