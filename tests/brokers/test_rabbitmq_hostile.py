"""Hostile neighbours on a real RabbitMQ: what others write, delete and close must not hurt us."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any

import aio_pika
import pytest
from msgspec.structs import replace

from brokers.rabbit import LEASE, bare_channel, one, patiently, publication, settings
from paigeant.errors import ConfigurationError, MessageTooLarge
from paigeant.model.message import Message, Publication
from paigeant_rabbitmq import frames, publisher
from paigeant_rabbitmq.line import Line
from paigeant_rabbitmq.link import Link
from paigeant_rabbitmq.settings import Place, RabbitMQSettings
from paigeant_rabbitmq.transport import RabbitMQTransport


def header(table: bytes, message_id: bytes = b"m") -> bytes:
    """The content header of a message with a body of one byte."""
    flags = 1 << 13 | 1 << 7
    size = struct.pack(">I", len(table))
    return struct.pack(">HHQH", 60, 0, 1, flags) + size + table + bytes((len(message_id),)) + message_id


def text(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + b"S" + struct.pack(">I", len(value)) + value


def nested(depth: int) -> bytes:
    """Tables within tables."""
    table = b""
    for _ in range(depth):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    return table


async def write(chosen: RabbitMQSettings, head: bytes, queue: str = "work") -> None:
    """As a program that writes what no client library would."""
    link = Link(Place.of(chosen), chosen, "foreign")
    await link.open()
    try:
        line = await link.line(5)
        channel = await line.channel()
        method = frames.publish_method("", f"paigeant.{chosen.namespace}.{queue}")
        line.wire.send(*frames.content(channel.number, method, head, b"x", line.frame_max))
        await channel.close()
    finally:
        await link.close()


HOSTILE = {
    "nested": header(nested(3000)),
    "id": header(b"", b"\xff" * 255),
    "name": header(text(b"\xff" * 255, b"x")),
    "value": header(text(b"a", b"\xff" * 100_000)),
    "large": header(b"".join(text(b"%d" % n, b"x" * 1000) for n in range(120))),
    "time": header(b"\x01tT" + b"\x7f" * 8),
}


@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_message_is_received_given_back_and_refused(rabbit_server: Any, head: bytes) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, transport.consume(["work"], lease=LEASE) as consumer:
        await write(chosen, head)
        await (await one(consumer)).release()
        delivery = await one(consumer)
        added = {**delivery.message.headers, "error": "e" * 1000}
        await delivery.settle(Publication("work.dead", replace(delivery.message, headers=added)))
        [dead] = await transport.peek("work.dead")
        assert dead == replace(delivery.message, headers=added)


@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_message_can_be_looked_at_and_hurts_no_consumer(rabbit_server: Any, head: bytes) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, transport.consume(["other"], lease=LEASE) as consumer:
        await transport.publish(publication("1"), publication("held", "other"))
        held = await one(consumer)
        await write(chosen, head)
        assert len(await transport.peek("work", 1)) == 1
        assert [message.body for message in await transport.peek("work")] == [b"body", b"x"]
        await held.settle()


async def test_peek_gets_any_number_and_gives_them_back(rabbit_server: Any) -> None:
    async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
        await transport.publish(*(publication(str(number)) for number in range(250)))
        for limit, found in ((1, 1), (100, 100), (201, 201), (250, 250), (1000, 250)):
            messages = await transport.peek("work", limit)
            assert len({message.id for message in messages}) == found
        assert await transport.peek("nothing-here") == []


async def test_headers_that_could_not_be_passed_on_are_refused(rabbit_server: Any) -> None:
    async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
        with pytest.raises(MessageTooLarge, match="headers"):
            await transport.publish(Publication("work", Message("m", b"", {"n": "v" * 66_000})))
        await transport.publish(Publication("work", Message("m", b"", {"n": "v" * 65_000})))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            delivery = await one(consumer)
            added = {**delivery.message.headers, "error": "e" * 1000}
            await delivery.settle(Publication("dead", replace(delivery.message, headers=added)))
        assert len((await transport.peek("dead"))[0].headers["error"]) == 1000


async def test_what_was_received_is_passed_on_although_the_limit_is_lower_here(rabbit_server: Any) -> None:
    chosen, body = settings(rabbit_server.url), b"b" * 3000
    smaller = chosen.model_copy(update={"max_message": 2048})
    async with RabbitMQTransport(chosen) as large, RabbitMQTransport(smaller) as small:
        await large.publish(Publication("work", Message("m", body)))
        async with small.consume(["work"], lease=LEASE) as consumer:
            await (await one(consumer)).release()
            delivery = await one(consumer)
            with pytest.raises(MessageTooLarge, match="over 2048 bytes"):
                await delivery.settle(Publication("next", Message("more", body + b"b")))
            with pytest.raises(MessageTooLarge, match="over 2048 bytes"):
                await small.publish(Publication("work", Message("m", body)))
            await delivery.settle(Publication("work.dead", Message("m", body, {"error": "e"})))
        assert await large.peek("work.dead") == [Message("m", body, {"error": "e"})]


@pytest.mark.parametrize("kind", ["exchange", "queue"])
async def test_a_delay_whose_bucket_was_deleted_is_made_again(rabbit_server: Any, kind: str) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await transport.publish(publication("1", delay=0.1))
        await getattr(channel, f"{kind}_delete")(f"paigeant.{chosen.namespace}:wait-quorum.100")
        await patiently(lambda: transport.publish(publication("2", delay=0.1)))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            seen: set[str] = set()
            while "2" not in seen:
                delivery = await one(consumer)
                seen.add(delivery.message.id)
                await delivery.settle()


async def test_a_foreign_due_time_beyond_all_bounds_is_none(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        async with transport.consume(["work"], lease=LEASE) as consumer:
            message = aio_pika.Message(b"x", type="due=999999999999999;received=1", message_id="far")
            await channel.default_exchange.publish(message, f"paigeant.{chosen.namespace}.work")
            assert (await one(consumer)).message.id == "far"
            message = aio_pika.Message(b"x", type="due=9999999999999;received=1", message_id="never")
            await channel.default_exchange.publish(message, f"paigeant.{chosen.namespace}.work")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await consumer.receive(1)
            waits = await channel.get_queue(f"paigeant.{chosen.namespace}:wait-quorum.86400000")
            assert (await waits.get()).message_id == "never"
        with pytest.raises(ConfigurationError, match="delay"):
            await transport.publish(publication("1", delay=4e9))


async def test_a_delay_is_never_rounded_down(rabbit_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = float(int(time.time())) + 0.0004
    monkeypatch.setattr(publisher, "time", lambda: now)
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await transport.publish(publication("1", delay=60))
        queue = await channel.get_queue(f"paigeant.{chosen.namespace}:wait-quorum.60000")
        message = await queue.get()
        assert message.type == f"due={int(now) * 1000 + 60_001};received=0"


async def test_a_queue_that_a_reply_made_outlives_the_pauses_of_its_reader(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await transport.publish(publication("1", "reply", ttl=1.0))
        name = f"paigeant.{chosen.namespace}.reply"
        with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed, match=r"x-expires.*3600000"):
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum", "x-expires": 1,
                "x-delivery-limit": 1_000_000, "x-consumer-timeout": 604_800_000})  # fmt: skip


@pytest.mark.parametrize(("version", "old"), [("3.9.29", True), ("2.8.7", True), ("3.10.0", False), ("?", False)])
async def test_a_broker_that_is_too_old_is_refused(
    rabbit_server: Any, monkeypatch: pytest.MonkeyPatch, version: str, old: bool
) -> None:
    monkeypatch.setattr(Line, "server", {"version": version})
    before = set(asyncio.all_tasks())
    transport = RabbitMQTransport(settings(rabbit_server.url))
    if old:
        with pytest.raises(ConfigurationError, match=rf"version {version}, and 3\.10 or newer is needed"):
            await transport.connect()
    else:
        await transport.connect()
    await transport.disconnect()
    assert not {task for task in asyncio.all_tasks() - before if not task.done()}
