"""A stale owner changes nothing, and what has no owner is nobody's: what NATS itself does not see to."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.client import Client

from paigeant.abc import Consumer, Delivery
from paigeant.errors import ConfigurationError, LeaseLost
from paigeant.model.message import Message, Publication
from paigeant_nats import leases
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport

LEASE = 1.0


@pytest.fixture
async def transport(nats_server: Any) -> AsyncIterator[NatsTransport]:
    async with asyncio.timeout(60), NatsTransport(settings(nats_server)) as connected:
        yield connected


def settings(server: Any, **more: Any) -> NatsSettings:
    return NatsSettings(url=server.url, namespace=f"f-{uuid.uuid4().hex[:12]}", **more)


def work(number: int | str, queue: str = "work") -> Publication:
    return Publication(queue, Message(f"m-{number}", b"body"))


async def one(consumer: Consumer) -> Delivery:
    async with asyncio.timeout(20):
        [delivery] = await consumer.receive(1)
    return delivery


async def stale_and_current(a: Consumer, b: Consumer) -> tuple[Delivery, Delivery]:
    """The same message, first leased to ``a`` until that lease ended, now to ``b``."""
    stale = await one(a)
    current = await one(b)
    assert (stale.message.id, stale.deliveries, current.deliveries) == (current.message.id, 1, 2)
    return stale, current


async def test_a_stale_owner_is_refused_before_anything_is_sent(transport: NatsTransport) -> None:
    await transport.publish(work(1))
    async with transport.consume(["work"], lease=LEASE) as a, transport.consume(["work"], lease=LEASE) as b:
        stale, current = await stale_and_current(a, b)
        with pytest.raises(LeaseLost):
            await stale.settle(work(2, "next"))
        with pytest.raises(LeaseLost):
            await stale.release()
        assert await transport.renew([stale.lease_token, current.lease_token]) == {stale.lease_token}
        stats = await transport.queues("work", "next")
        assert (stats["work"].in_flight, stats["next"].ready) == (1, 0)
        await current.settle()


async def test_a_lease_that_ends_while_successors_are_stored_is_not_acknowledged(transport: NatsTransport) -> None:
    await transport.publish(work(1))
    async with transport.consume(["work"], lease=LEASE) as a, transport.consume(["work"], lease=LEASE) as b:
        delivery = await one(a)
        settler = delivery._settler  # type: ignore[attr-defined]
        send = settler._sender.send

        async def slow(messages: Any) -> None:
            await send(messages)
            leases.find(delivery.lease_token).deadline = 0.0  # type: ignore[union-attr] - the process was stopped here

        settler._sender.send = slow
        with pytest.raises(LeaseLost):
            await delivery.settle(work(2, "next"))
        assert (await transport.queues("next"))["next"].ready == 1  # a repeat of it is recognised by its id
        assert (await one(b)).message.id == "m-1"


async def test_a_heartbeat_confirmed_too_late_is_no_renewal(transport: NatsTransport) -> None:
    await transport.publish(work(1))
    async with transport.consume(["work"], lease=LEASE) as consumer:
        delivery = await one(consumer)
        lease = leases.find(delivery.lease_token)
        assert lease is not None
        sent = time.monotonic()
        lease.deadline = sent
        assert not lease.renewed(sent)
        assert await transport.renew([delivery.lease_token]) == {delivery.lease_token}


async def test_what_arrived_while_the_process_stood_still_is_not_taken_for_fresh(
    transport: NatsTransport, nats_server: Any
) -> None:
    """The lease is counted from a turn of the loop before the standstill."""
    published, stood = threading.Event(), threading.Event()

    async def publish() -> None:
        async with NatsTransport(NatsSettings(url=nats_server.url, namespace=transport.namespace)) as other:
            stood.wait(10)
            await other.publish(work(1))
            published.set()

    async with transport.consume(["work"], lease=LEASE) as consumer:
        waiting = asyncio.create_task(one(consumer))
        thread = threading.Thread(target=lambda: asyncio.run(publish()))
        thread.start()
        await asyncio.sleep(0.5)
        stood.set()
        published.wait(10)  # as SIGSTOP would: from before it is sent ...
        time.sleep(LEASE * 1.5)
        delivery = await waiting
        assert delivery.deliveries is not None
        assert delivery.deliveries > 1
        await delivery.settle()
        thread.join()


async def test_of_two_owners_one_settles_atomically(nats_server: Any) -> None:
    async with NatsTransport(settings(nats_server, atomic=True)) as transport:
        await transport.publish(work(1))
        async with transport.consume(["work"], lease=LEASE) as a, transport.consume(["work"], lease=LEASE) as b:
            stale, current = await stale_and_current(a, b)
            stale.lease.deadline = time.monotonic() + 60  # type: ignore[attr-defined] - as if it had not noticed
            ends = await asyncio.gather(
                stale.settle(work(2, "next")), current.settle(work(3, "next")), return_exceptions=True
            )
            assert sorted(type(end).__name__ for end in ends) == ["LeaseLost", "NoneType"]
            assert (await transport.queues("next"))["next"].ready == 1


async def test_many_settles_share_a_batch_and_one_that_lost_spoils_none(nats_server: Any) -> None:
    async with NatsTransport(settings(nats_server, atomic=True)) as transport:
        await transport.publish(*(work(n) for n in range(20)))
        async with transport.consume(["work"], lease=30) as consumer:
            held: list[Delivery] = []
            while len(held) < 20:
                held += await consumer.receive(20)
            held[7].sequence += 100_000  # type: ignore[attr-defined] - as if another had settled it
            ends = await asyncio.gather(
                *(d.settle(work(f"{d.message.id}-next", "next")) for d in held), return_exceptions=True
            )
            assert [n for n, end in enumerate(ends) if end is not None] == [7]
            assert isinstance(ends[7], LeaseLost)
            assert (await transport.queues("next"))["next"].ready == 19


async def test_a_successor_stored_before_does_not_stop_an_atomic_settle(nats_server: Any) -> None:
    async with NatsTransport(settings(nats_server, atomic=True)) as transport:
        await transport.publish(work(1), work(2, "next"))
        async with transport.consume(["work"], lease=30) as consumer:
            await (await one(consumer)).settle(work(2, "next"), work(3, "next"))
        assert [m.id for m in await transport.peek("next")] == ["m-2", "m-3"]
        assert await transport.peek("work") == []


async def test_what_nobody_comes_for_goes_to_others(transport: NatsTransport) -> None:
    """A message that answers a request whose receive ended is given back, and another consumer has it at once."""
    async with transport.consume(["a", "b"], lease=30) as first, transport.consume(["b"], lease=30) as second:
        waiting = asyncio.create_task(first.receive(1))
        await asyncio.sleep(0.2)  # now the server holds a request of each queue
        await transport.publish(work(1, "a"))
        await (await waiting)[0].settle()
        await transport.publish(work(2, "b"))  # answers what ``first`` had asked for; it asks for nothing now
        async with asyncio.timeout(5):
            [delivery] = await second.receive(1)
        assert delivery.message.id == "m-2"
        await delivery.settle()


async def test_several_queues_are_never_leased_beyond_the_limit_for_long(transport: NatsTransport) -> None:
    queues = [f"q-{n}" for n in range(6)]
    await transport.publish(*(work(f"{queue}-{n}", queue) for queue in queues for n in range(20)))
    async with transport.consume(queues, lease=30) as consumer:
        seen: set[str] = set()
        for _ in range(12):
            found = await consumer.receive(2)
            assert 1 <= len(found) <= 2
            seen |= {delivery.queue for delivery in found}
            leased = sum(stats.in_flight or 0 for stats in (await transport.queues(*queues)).values())
            assert leased <= 2
            for delivery in found:
                await delivery.settle()
        assert seen == set(queues)


async def test_a_busy_queue_gets_all_slots_beside_idle_ones(transport: NatsTransport) -> None:
    queues = [f"q-{n}" for n in range(8)]
    await transport.publish(*(work(n, "q-3") for n in range(100)))
    async with transport.consume(queues, lease=30) as consumer:
        found = 0
        for _ in range(4):
            found += len(await consumer.receive(max(1, 100 - found)))
            if found == 100:
                break
        assert found == 100


async def test_a_queue_that_was_empty_is_served_beside_one_that_never_is(transport: NatsTransport) -> None:
    async with transport.consume(["busy", "rare"], lease=30) as consumer:
        waiting = asyncio.create_task(consumer.receive(1))
        await asyncio.sleep(0.2)  # both were found empty
        await transport.publish(*(work(n, "busy") for n in range(60)))
        await (await waiting)[0].settle()
        for turn in range(3):  # what waited for it at the server is used up by the first
            await transport.publish(work(f"rare-{turn}", "rare"))
            seen: list[str] = []
            for _ in range(12):
                delivery = await one(consumer)
                seen.append(delivery.queue)
                await delivery.settle()
            assert "rare" in seen


async def test_the_lease_is_kept_on_the_server(transport: NatsTransport) -> None:
    async with transport.consume(["work"], lease=12):
        pass
    async with transport.clone() as other:
        with pytest.raises(ConfigurationError, match=r"lease of 12 s, not 13 s.*nats consumer rm"):
            async with other.consume(["work"], lease=13):
                pass


async def test_foreign_messages_are_handed_on_as_they_are(transport: NatsTransport, nats_server: Any) -> None:
    client = Client()
    await client.connect(nats_server.url)
    subject = f"paigeant.{transport.namespace}.q.work"
    odd = {"Paigeant-Headers": "[[[", "Paigeant-Id": "{}", "Paigeant-Not-Before": "nan", "Nats-Msg-Id": "x"}
    await client.jetstream().publish(f"{subject}.foreign", b"\x00", headers=odd)
    await client.jetstream().publish(f"{subject}.=hash", b"", headers={"Paigeant-Headers": '{"a":1,"b":"c"}'})
    await client.close()
    async with transport.consume(["work"], lease=30) as consumer:
        found: list[Delivery] = []
        while len(found) < 2:
            found += await consumer.receive(10)
        assert [(d.message.id, d.message.body, dict(d.message.headers)) for d in found] == [
            ("foreign", b"\x00", {}),
            ("=hash", b"", {"b": "c"}),
        ]
        for delivery in found:
            await delivery.settle()


async def test_a_reply_queue_leaves_no_consumer_behind(transport: NatsTransport) -> None:
    async with transport.consume(["reply.x"], lease=30, expires=1.0):
        assert set(await transport.queues()) == {"reply.x"}
    async with asyncio.timeout(20):
        while await transport.queues():
            await asyncio.sleep(0.1)


async def test_a_reply_queue_may_stay_for_as_long_as_one_likes(transport: NatsTransport) -> None:
    async with transport.consume(["reply.x"], lease=30, expires=1e300):
        assert set(await transport.queues()) == {"reply.x"}


async def test_a_message_with_a_ttl_goes_by_itself(transport: NatsTransport) -> None:
    started = time.monotonic()
    await transport.publish(Publication("reply.y", Message("m", b""), ttl=0.5))
    async with asyncio.timeout(20):
        while (await transport.queues("reply.y"))["reply.y"].ready:
            await asyncio.sleep(0.05)
    assert time.monotonic() - started >= 0.5


async def test_nothing_grows(transport: NatsTransport) -> None:
    before = len(leases._leases)
    async with transport.consume(["work"], lease=30) as consumer:
        for batch in range(20):
            await transport.publish(*(work(f"{batch}-{n}") for n in range(50)))
            left = 50
            while left:
                for delivery in await consumer.receive(left):
                    await delivery.settle()
                    left -= 1
        assert len(leases._leases) == before
        assert not transport._session.link._waiting
    info = await transport._session.api.call(f"STREAM.INFO.{transport._session.names.queues}")
    assert (info["state"]["messages"], info["state"]["bytes"]) == (0, 0)
