"""Queues, delays and foreign hands on a real RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import aio_pika
import pytest

from brokers.rabbit import LEASE, bare_channel, is_empty, one, publication, received, settings, until
from paigeant.__main__ import main
from paigeant.abc import Delivery
from paigeant.errors import ConfigurationError, LeaseLost, MessageTooLarge
from paigeant.model.finding import Severity
from paigeant.model.message import Message, Publication
from paigeant_rabbitmq import buffer
from paigeant_rabbitmq.transport import RabbitMQTransport

from ..support import quickest


async def test_delays_of_several_rounds_are_exact(rabbit_server: Any) -> None:
    limit = 0.35  # 0.1 s and the slowness of the machine
    assert await quickest(lambda: latest(rabbit_server.url), limit) < limit


async def latest(url: str) -> float:
    """How late the latest of some delayed messages comes."""
    late: list[float] = []
    delays = (0.05, 0.35, 0.75, 1.25)
    async with RabbitMQTransport(settings(url)) as transport:
        await transport.publish(*(publication("0", "other", delay=delay) for delay in delays))  # makes the buckets
        async with transport.consume(["work"], lease=LEASE) as consumer:
            due: dict[str, float] = {}
            for delay in delays:
                due[f"{delay}"] = time.time() + delay
                await transport.publish(publication(f"{delay}", delay=delay))
            for _ in due:
                delivery = await one(consumer)
                late.append(time.time() - due[delivery.message.id])
                assert delivery.deliveries == 1
                await delivery.settle()
        assert await is_empty(transport)
    assert min(late) >= 0, late
    return max(late)


async def test_what_no_slot_is_free_for_goes_to_others(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as busy, RabbitMQTransport(chosen) as idle:
        await busy.publish(*(publication(str(number)) for number in range(30)))
        async with busy.consume(["work"], lease=LEASE) as first:
            held = await received(first, 10)
            for delivery in held:
                await delivery.settle()  # as with a store: acknowledged at once, and the slots stay taken
            settled = {delivery.message.id for delivery in held}
            async with idle.consume(["work"], lease=LEASE) as second:
                while len(settled) < 30:
                    for delivery in await received(second, 10):
                        assert delivery.deliveries is not None
                        settled.add(delivery.message.id)
                        await delivery.settle()
        assert await is_empty(busy)


async def test_bystanders_are_not_counted(rabbit_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "LINGER", 0.05)
    async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
        await transport.publish(*(publication(str(number)) for number in range(20)))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            seen: dict[str, int | None] = {}
            while len(seen) < 20:
                for delivery in await received(consumer, 2):
                    assert delivery.message.id not in seen
                    seen[delivery.message.id] = delivery.deliveries
                    await delivery.settle()
                await asyncio.sleep(0.1)  # not to synchronise: what was pushed meanwhile must go back
        assert set(seen.values()) == {1}


async def test_credit_grows_with_what_is_held(rabbit_server: Any) -> None:
    async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
        await transport.publish(*(publication(str(number)) for number in range(50)))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            held: list[Delivery] = []
            while len(held) < 50:
                held += await received(consumer, 3)
            assert len({delivery.message.id for delivery in held}) == 50
            for delivery in held:
                await delivery.settle()
        assert await is_empty(transport)


async def test_a_queue_deleted_under_a_publisher_is_made_again(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await transport.publish(publication("1"))
        await channel.queue_delete(f"paigeant.{chosen.namespace}.work")
        await transport.publish(publication("2"), publication("2"), publication("3", "other"))
        assert [message.id for message in await transport.peek("work")] == ["2", "2"]
        assert [message.id for message in await transport.peek("other")] == ["3"]


async def test_delayed_messages_whose_queue_is_gone_hold_up_no_others_and_come_once_it_is_back(
    rabbit_server: Any,
) -> None:
    chosen, many = settings(rabbit_server.url), 40  # of 32, RabbitMQ waits for a queue that takes them
    async with (
        quick_repeats(rabbit_server),
        RabbitMQTransport(chosen) as transport,
        bare_channel(rabbit_server.url) as channel,
    ):
        await transport.publish(*(publication(str(number), "gone", delay=2.0) for number in range(many)))
        await channel.queue_delete(f"paigeant.{chosen.namespace}.gone")
        await transport.publish(publication("late", delay=2.0))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            await (await one(consumer)).settle()
        async with transport.consume(["gone"], lease=LEASE) as consumer:
            for _ in range(many):
                await (await one(consumer)).settle()


@contextlib.asynccontextmanager
async def quick_repeats(server: Any) -> AsyncGenerator[None]:
    """RabbitMQ tries messages again that no queue took, after 2 s in place of 3 minutes."""
    name = "dead_letter_worker_publisher_confirm_timeout"
    await asyncio.to_thread(server.control, "eval", f"application:set_env(rabbit, {name}, 2000).")
    try:
        yield
    finally:
        await asyncio.to_thread(server.control, "eval", f"application:set_env(rabbit, {name}, 180000).")


async def test_a_queue_deleted_under_a_consumer_is_made_again(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await transport.publish(publication("1"))
        async with transport.consume(["work", "other"], lease=LEASE) as consumer:
            lost = await one(consumer)
            waiting = asyncio.create_task(one(consumer))
            await channel.queue_delete(f"paigeant.{chosen.namespace}.work")

            async def noticed() -> bool:
                return await transport.renew([lost.lease_token]) == {lost.lease_token}

            await until(noticed)
            with pytest.raises(LeaseLost, match="not ours any more"):
                await lost.settle(publication("successor"))
            await transport.publish(publication("2"))
            delivery = await waiting
            assert delivery.message.id == "2"
            await delivery.settle()
            assert await is_empty(transport)


async def test_a_subscription_that_the_broker_cancels_is_made_again(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with (
        RabbitMQTransport(chosen) as transport,
        bare_channel(rabbit_server.url) as channel,
        transport.consume(["work"], lease=LEASE) as consumer,
    ):
        waiting = asyncio.create_task(one(consumer))
        await until(lambda: has_consumer(transport))
        await channel.queue_delete(f"paigeant.{chosen.namespace}.work")
        await until(lambda: has_consumer(transport))
        await transport.publish(publication("1"))
        await (await waiting).settle()


async def has_consumer(transport: RabbitMQTransport) -> bool:
    return (await transport.queues("work"))["work"].consumers == 1


async def test_foreign_messages_are_delivered_as_far_as_they_can_be_read(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        async with transport.consume(["work"], lease=LEASE) as consumer:
            waiting = asyncio.create_task(received(consumer, 10))
            name = f"paigeant.{chosen.namespace}.work"
            headers: Any = {"n": 1, "deep": {"x": [1, {"y": None}]}, "text": "kept", "x-delivery-count": "x"}
            for message in (
                aio_pika.Message(b"", message_id=None),
                aio_pika.Message(b"x" * 300_000, headers=headers, type="due=" + "9" * 30, message_id="given"),
                aio_pika.Message(
                    b"z", headers=headers, priority=9, expiration=60, timestamp=1, reply_to="r", app_id="a"
                ),
            ):
                await channel.default_exchange.publish(message, name)
            found = await waiting
            while len(found) < 3:
                found += await received(consumer, 10)
            assert [delivery.message.headers for delivery in found] == [{}, {"text": "kept"}, {"text": "kept"}]
            assert found[1].message.id == "given"
            assert len(found[1].message.body) == 300_000
            for delivery in found:
                await delivery.settle(Publication("work.dead", delivery.message))
        assert (await transport.queues("work.dead"))["work.dead"].ready == 3


@pytest.mark.parametrize(
    ("durable", "arguments", "said"),
    [
        (False, {}, "durable"),
        (True, {}, "x-queue-type|x-delivery-limit"),
        (
            True,
            {"x-queue-type": "quorum", "x-delivery-limit": 1, "x-consumer-timeout": 604_800_000},
            "x-delivery-limit",
        ),
    ],
)
async def test_nothing_is_published_into_a_queue_of_another_kind(
    rabbit_server: Any, durable: bool, arguments: dict[str, Any], said: str
) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        name = f"paigeant.{chosen.namespace}.work"
        await channel.declare_queue(name, durable=durable, arguments=arguments)
        with pytest.raises(ConfigurationError, match=f"{name}.*exists with another '({said})'.*delete_queue"):
            await transport.publish(publication("1"))
        await channel.queue_delete(name)
        await transport.publish(publication("2"))


async def test_who_publishes_need_not_know_what_only_readers_agree_on(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    reader = chosen.model_copy(update={"consumer_timeout": 60.0})
    async with (
        RabbitMQTransport(chosen) as transport,
        RabbitMQTransport(reader) as other,
        other.consume(["work"], lease=LEASE) as consumer,
        other.consume(["reply"], lease=LEASE, expires=60.0) as replies,
    ):
        await transport.publish(publication("1"), publication("2", "reply"))
        await (await one(consumer)).settle()
        await (await one(replies)).settle()


async def test_a_queue_of_another_kind_is_named_with_the_remedy(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport, bare_channel(rabbit_server.url) as channel:
        await channel.declare_queue(f"paigeant.{chosen.namespace}.work", durable=True)
        with pytest.raises(ConfigurationError, match=r"'paigeant.*work'.*x-queue-type.*PAIGEANT_RABBITMQ_QUEUE_TYPE"):
            async with transport.consume(["work"], lease=LEASE):
                pass
    async with RabbitMQTransport(chosen.model_copy(update={"queue_type": "classic"})) as transport:
        assert not transport.capabilities.counts_deliveries
        await transport.publish(publication("1"), publication("2", delay=0.2))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            for expected in ("1", "2"):
                delivery = await one(consumer)
                assert (delivery.message.id, delivery.deliveries) == (expected, None)
                await delivery.settle()


async def test_nothing_is_sent_if_something_cannot_be(rabbit_server: Any) -> None:
    async with RabbitMQTransport(settings(rabbit_server.url, max_message=2048)) as transport:
        bad = [Message("large", bytes(2049)), Message("i" * 300, b""), Message("m", b"", {"n" * 300: ""}),
               Message("m", b"", {"n": "v" * 200_000})]  # fmt: skip
        for message in bad:
            with pytest.raises(MessageTooLarge):
                await transport.publish(publication("first"), Publication("work", message))
        with pytest.raises(ConfigurationError, match="delay"):
            await transport.publish(publication("first"), publication("second", delay=float("nan")))
        assert await is_empty(transport)


async def test_reply_queues_are_dropped_when_nobody_listens(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as transport:
        async with transport.consume(["reply"], lease=LEASE, expires=1.0) as consumer:
            await transport.publish(publication("1", "reply", ttl=60.0))
            await (await one(consumer)).settle()
        async with bare_channel(rabbit_server.url) as channel:

            async def gone() -> bool:
                try:
                    async with await aio_pika.connect(rabbit_server.url) as connection, connection.channel() as probe:
                        await probe.declare_queue(f"paigeant.{chosen.namespace}.reply", passive=True)
                except aio_pika.exceptions.ChannelNotFoundEntity:
                    return True
                return False

            await until(gone)
            await transport.publish(publication("2", "reply", ttl=60.0))  # makes it again
            assert channel is not None
        assert [message.id for message in await transport.peek("reply")] == ["2"]


async def test_a_reply_may_make_its_queue_while_its_reader_does(rabbit_server: Any) -> None:
    chosen = settings(rabbit_server.url)
    async with RabbitMQTransport(chosen) as reader, RabbitMQTransport(chosen) as worker:

        async def read(queue: str) -> None:
            async with reader.consume([queue], lease=LEASE, expires=60.0) as consumer:
                await (await one(consumer)).settle()

        queues = [f"reply.{number}" for number in range(20)]
        sending = (worker.publish(publication("1", queue, ttl=60.0)) for queue in queues)
        await asyncio.gather(*map(read, queues), *sending)


async def test_diagnosis_of_a_good_broker(rabbit_server: Any) -> None:
    async with RabbitMQTransport(settings(rabbit_server.url)) as transport:
        found = {finding.subject: finding for finding in await transport.diagnose()}
    assert found["version"].severity is Severity.OK
    assert {name for name, finding in found.items() if finding.severity is Severity.PROBLEM} == set()
    assert {"right: configure", "right: write", "right: read", "queue type", "heartbeat", "alarms"} <= set(found)
    assert "state store" not in found  # what there is of stores is not for the transport to say
    timeout = found["consumer timeout"]
    assert timeout.severity in (Severity.NOTE, Severity.OK)
    assert timeout.remedy.startswith("without a state store: ") or timeout.severity is Severity.OK
    assert found["right: read"].severity is Severity.OK


@pytest.mark.parametrize("command", ["queues", "dead-letters list", "dead-letters show 1"])
def test_commands_that_need_a_list_say_that_there_is_none(rabbit_server: Any, command: str, capsys: Any) -> None:
    chosen = settings(rabbit_server.url)
    where = ["--transport", rabbit_server.url, "--namespace", chosen.namespace]

    async def refuse() -> None:
        async with RabbitMQTransport(chosen) as transport:
            await transport.publish(publication("1", "work.dead"))

    asyncio.run(refuse())
    assert main([*command.split(), *where]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "RabbitMQ cannot list its queues: name one" in said.err
    assert "`paigeant dead-letters list QUEUE`" in said.err
    assert main(["dead-letters", "list", "work", *where]) == 0
    assert main(["queues", "work.dead", *where]) == 0
    assert "work.dead" in capsys.readouterr().out
