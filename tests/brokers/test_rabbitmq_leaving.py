"""RabbitMQ through floods, cancelled calls, and consumers and instances that come and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.rabbit import LEASE, is_empty, one, publication, received, settings, until
from paigeant.abc import Delivery
from paigeant.errors import BackendClosed, OutcomeUnknown
from paigeant_rabbitmq import frames, lane
from paigeant_rabbitmq.acks import Acks
from paigeant_rabbitmq.link import Link
from paigeant_rabbitmq.settings import Place
from paigeant_rabbitmq.transport import RabbitMQTransport
from paigeant_rabbitmq.wire import Wire


@asynccontextmanager
async def unharmed(url: str) -> AsyncGenerator[RabbitMQTransport]:
    """A transport that holds a delivery meanwhile. It can be settled at the end only if no connection was lost."""
    async with RabbitMQTransport(settings(url)) as transport, transport.consume(["other"], lease=LEASE) as consumer:
        await transport.publish(publication("held", "other"))
        held = await one(consumer)
        yield transport
        await held.settle()


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
    async with unharmed(rabbit_server.url) as transport:
        for _ in range(5):
            async with transport.consume(["work"], lease=LEASE) as consumer, flood(transport, "work"):
                for _ in range(20):
                    for delivery in await received(consumer, 100):
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


async def test_what_is_on_its_way_back_when_the_consumer_leaves_comes_back_once(rabbit_server: Any) -> None:
    names = {str(number) for number in range(20)}
    for _ in range(5):
        async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
            await transport.publish(*map(publication, names))
            async with transport.consume(["work"], lease=LEASE) as consumer:
                held: list[Any] = []
                while len(held) < len(names):
                    held += await received(consumer, 20)
                for delivery in held:
                    consumer._returns.give_back(delivery, 0.0)  # type: ignore[attr-defined]
                await asyncio.sleep(0)  # not to synchronise: the copies are sent, and not confirmed
            assert sorted(message.id for message in await transport.peek("work")) == sorted(names)


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
    async with unharmed(rabbit_server.url) as transport:
        for turn in range(5):
            names = [f"q{turn}-{number}" for number in range(30)]
            missing = (transport.peek(f"missing-{name}") for name in names)
            await asyncio.gather(*(transport.publish(publication("1", name)) for name in names), *missing)


async def test_calls_that_are_cancelled_cost_no_connection(rabbit_server: Any) -> None:
    async with unharmed(rabbit_server.url) as transport:

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


async def test_a_disconnect_during_the_first_question_leaves_nothing_open(rabbit_server: Any) -> None:
    """It opens the connection that receives."""
    before = set(asyncio.all_tasks())
    for turns in range(1, 6):
        transport = RabbitMQTransport(settings(rabbit_server.url))
        await transport.connect()
        asking = asyncio.create_task(transport.queues("work"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await transport.disconnect()
        with pytest.raises(BackendClosed):
            await asking
    assert not {task for task in asyncio.all_tasks() - before if not task.done()}


async def test_a_connection_that_is_closed_as_soon_as_it_is_open_is_closed(rabbit_server: Any) -> None:
    before, chosen = set(asyncio.all_tasks()), settings(rabbit_server.url)
    link = Link(Place.of(chosen), chosen, "short")
    await link.open()
    await link.close()
    await until(lambda: asyncio.sleep(0, asyncio.all_tasks() <= before))
    with pytest.raises(BackendClosed):
        await link.line(None)


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
