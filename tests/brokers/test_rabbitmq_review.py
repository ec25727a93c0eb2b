"""Hostile neighbours on a real RabbitMQ: what others write, delete and close must not hurt us."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from brokers.rabbit import LEASE, bare_channel, is_empty, one, patiently, publication, received, settings
from paigeant.abc import Delivery
from paigeant.errors import BackendClosed, ConfigurationError, MessageTooLarge, OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant_rabbitmq import frames, lane, publisher
from paigeant_rabbitmq.acks import Acks
from paigeant_rabbitmq.line import Line
from paigeant_rabbitmq.link import Link
from paigeant_rabbitmq.settings import Place, RabbitMQSettings
from paigeant_rabbitmq.transport import RabbitMQTransport
from paigeant_rabbitmq.wire import Wire


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


@asynccontextmanager
async def flood(transport: RabbitMQTransport, queue: str) -> AsyncGenerator[None]:
    """Messages without end."""

    async def publish() -> None:
        while True:
            await transport.publish(*(publication(str(number), queue) for number in range(100)))

    tasks = [asyncio.create_task(publish()) for _ in range(3)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_consumer_that_leaves_a_flood_takes_no_other_with_it(rabbit_server: Any) -> None:
    async with (
        RabbitMQTransport(settings(rabbit_server.url)) as transport,
        transport.consume(["other"], lease=LEASE) as other,
    ):
        await transport.publish(publication("held", "other"))
        held = await one(other)
        for _ in range(5):
            async with transport.consume(["work"], lease=LEASE) as consumer, flood(transport, "work"):
                for _ in range(20):
                    for delivery in await received(consumer, 100):
                        await delivery.settle()
        await held.settle()


@pytest.mark.parametrize("kind", ["exchange", "queue"])
async def test_a_delay_whose_bucket_was_deleted_is_made_again(rabbit_server: Any, kind: str) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await transport.publish(publication("1", delay=0.1))
        await getattr(channel, f"{kind}_delete")(f"paigeant.{chosen.namespace}:delay-quorum.100")
        await patiently(lambda: transport.publish(publication("2", delay=0.1)))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            seen: set[str] = set()
            while "2" not in seen:
                delivery = await one(consumer)
                seen.add(delivery.message.id)
                await delivery.settle()


async def test_nothing_is_kept_of_subscriptions_that_are_over(rabbit_server: Any) -> None:
    async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
        before = len(lane._alive)
        async with transport.consume(["work"], lease=LEASE) as consumer:
            for _ in range(10):
                await transport.publish(*(publication(str(number)) for number in range(10)))
                held = [await one(consumer) for _ in range(10)]  # each takes a subscription of its own
                for delivery in held:
                    await delivery.settle()
            assert len(lane._alive) - before <= 12
        assert len(lane._alive) == before


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
            waits = await channel.get_queue(f"paigeant.{chosen.namespace}:delay-quorum.86400000")
            assert (await waits.get()).message_id == "never"
        with pytest.raises(ConfigurationError, match="delay"):
            await transport.publish(publication("1", delay=4e9))


async def test_a_delay_is_never_rounded_down(rabbit_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = float(int(time.time())) + 0.0004
    monkeypatch.setattr(publisher, "time", lambda: now)
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await transport.publish(publication("1", delay=60))
        queue = await channel.get_queue(f"paigeant.{chosen.namespace}:delay-quorum.60000")
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


async def test_what_was_under_way_at_the_disconnect_may_have_arrived(rabbit_server: Any) -> None:
    async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
        await transport.publish(publication("0"))
        publishing = asyncio.create_task(transport.publish(publication("1")))
        await asyncio.sleep(0)
        await transport.disconnect()
        with pytest.raises(OutcomeUnknown):
            await publishing


class _Socket:
    """Takes so many bytes of each heartbeat."""

    def __init__(self, room: int) -> None:
        self.sent, self.room = b"", room

    def send(self, data: bytes, flags: int) -> int:
        self.sent += data[: self.room]
        return min(self.room, len(data))


class _Transport(asyncio.Transport):
    def __init__(self, sock: _Socket) -> None:
        super().__init__()
        self._socket = sock

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._socket.sent += data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        raise RuntimeError("deque mutated during iteration")  # from another thread, on Python 3.12


@pytest.mark.parametrize("room", range(9))
async def test_a_heartbeat_that_is_sent_in_part_is_finished_before_anything_else(room: int) -> None:
    wire = Wire(asyncio.StreamReader(), asyncio.get_running_loop())
    sock: Any = _Socket(room)
    wire._transport_, wire._socket = _Transport(sock), sock
    wire.beat()
    wire.write_now(b"frame")
    assert sock.sent in (frames.HEARTBEAT + b"frame", b"frame")
    wire.beat()
    wire.beat()
    wire.write_now(b"frame")
    beats = sock.sent.replace(b"frame", b"").count(frames.HEARTBEAT)
    assert len(sock.sent) == 8 * beats + 10
    wire.pause_writing()
    wire.beat()
    assert len(sock.sent) == 8 * beats + 10
    wire._transport_ = wire._socket = None


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize("idle", [False, True])
async def test_what_was_settled_right_before_leaving_stays_settled(rabbit_server: Any, limit: int, idle: bool) -> None:
    for _ in range(5):
        async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
            await transport.publish(*(publication(str(number)) for number in range(70)))
            async with transport.consume(["work", "other"], lease=LEASE) as consumer:
                held: list[Delivery] = []
                while len(held) < 70:
                    held += await received(consumer, limit)
                if idle:  # cancelled, so that nothing is subscribed to any more
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await consumer.receive(1)
                for delivery in sorted(held, key=lambda one: hash(one.message.id)):
                    await delivery.settle()
                    await asyncio.sleep(0)
            assert await is_empty(transport)


class _Channel:
    """What the broker holds as delivered and not acknowledged."""

    def __init__(self) -> None:
        self.unsettled: set[int] = set()
        self.returned: set[int] = set()
        self.late: list[Callable[[], bytes]] = []
        self.sent = b""

    def send(self, *parts: bytes) -> None:
        self.sent += b"".join(parts)

    def defer(self, parts: Callable[[], bytes]) -> None:
        self.late.append(parts)

    def flush(self) -> None:
        data, self.sent = self.sent + b"".join(parts() for parts in self.late), b""
        self.late.clear()
        for at in range(0, len(data), 21):
            tag, multiple = frames.read_confirm(data[at + 7 :])
            tags = {one for one in self.unsettled if one <= tag} if multiple and data[at + 10] == 0x50 else {tag}
            assert tag in self.unsettled, "an unknown delivery tag ends the channel"
            self.unsettled -= tags
            if data[at + 10] == 0x78:
                self.returned |= tags


@given(
    st.lists(st.sampled_from(["arrive", "arrive", "settle", "settle", "reject", "flush"]), max_size=80), st.randoms()
)
def test_several_acknowledgements_say_the_same_as_single_ones(acts: list[str], chance: random.Random) -> None:
    channel: Any = _Channel()
    acks, held, given_back, tag = Acks(channel, 1), set[int](), set[int](), 0
    for act in acts:
        if act == "arrive":
            tag += 1
            held.add(tag)
            channel.unsettled.add(tag)
            acks.arrived(tag)
        elif act == "flush":
            channel.flush()
            assert channel.unsettled == held
        elif held:
            chosen = chance.choice(sorted(held))
            held.remove(chosen)
            if act == "settle":
                acks.acknowledge(chosen)
            else:
                given_back.add(chosen)
                acks.reject(chosen)
    channel.flush()
    assert (channel.unsettled, channel.returned) == (held, given_back)


async def test_many_new_queues_at_once_cost_no_connection(rabbit_server: Any) -> None:
    async with (
        RabbitMQTransport(settings(rabbit_server.url)) as transport,
        transport.consume(["other"], lease=LEASE) as consumer,
    ):
        await transport.publish(publication("held", "other"))
        held = await one(consumer)
        for turn in range(5):
            names = [f"q{turn}-{number}" for number in range(30)]
            missing = (transport.peek(f"missing-{name}") for name in names)
            await asyncio.gather(*(transport.publish(publication("1", name)) for name in names), *missing)
        await held.settle()


async def test_calls_that_are_cancelled_cost_no_connection(rabbit_server: Any) -> None:
    async with (
        RabbitMQTransport(settings(rabbit_server.url)) as transport,
        transport.consume(["other"], lease=LEASE) as consumer,
    ):
        await transport.publish(publication("held", "other"))
        held = await one(consumer)

        async def work(queue: str) -> None:
            await transport.queues(queue, f"{queue}-too")
            async with transport.consume([queue], lease=LEASE) as consumer:
                await consumer.receive(1)

        for turns in range(160):
            task = asyncio.create_task(work(f"work{turns % 4}"))
            for _ in range(turns // 2):
                await asyncio.sleep(0 if turns % 2 else 0.0002)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await held.settle()


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


async def test_a_disconnect_during_connect_leaves_nothing_open(rabbit_server: Any) -> None:
    before = set(asyncio.all_tasks())
    transport = RabbitMQTransport(settings(rabbit_server.url))
    connecting = [asyncio.create_task(transport.connect()) for _ in range(2)]
    await asyncio.sleep(0)
    await transport.disconnect()
    found = await asyncio.gather(*connecting, return_exceptions=True)
    assert [type(one) for one in found] == [BackendClosed, BackendClosed]
    with pytest.raises(BackendClosed):
        await transport.queues("work")
    assert not {task for task in asyncio.all_tasks() - before if not task.done()}
    async with transport:
        await transport.publish(publication("1"))


async def test_a_consumer_whose_task_fails_says_so(rabbit_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        RabbitMQTransport(settings(rabbit_server.url)) as transport,
        transport.consume(["work"], lease=LEASE) as consumer,
    ):

        async def fail(*_: object) -> None:
            raise KeyError("a mistake")

        monkeypatch.setattr(consumer, "_subscribe", fail)
        for _ in range(2):
            with pytest.raises(BackendClosed, match="a mistake") as caught:
                await received(consumer)
            assert isinstance(caught.value.__cause__, KeyError)
