"""A network that is slow: what is on its way is waited for, and what is not is told in time."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from paigeant.errors import OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant_nats.link import Link
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer
from rig.proxy import Proxy

PATIENCE = 30.0
TIMEOUT = 1.0


def settings(url: str) -> NatsSettings:
    return NatsSettings(url=url, namespace="slow", timeout=TIMEOUT, connect_timeout=PATIENCE)


async def test_answers_that_come_behind_many_messages_are_waited_for(own_nats: NatsServer) -> None:
    """Eight messages of half a megabyte, 2 MB/s: twice the time-out."""
    queues = [f"work-{number}" for number in range(8)]
    async with NatsTransport(settings(own_nats.url)) as here:
        await here.publish(*(Publication(queue, Message(queue, bytes(500_000))) for queue in queues))
    with Proxy(own_nats.host, own_nats.port, delay=0.03) as proxy:
        url = f"nats://{proxy.host}:{proxy.port}"
        async with (
            asyncio.timeout(PATIENCE),
            NatsTransport(settings(url)) as there,
            there.consume(queues, lease=30.0) as consumer,
        ):
            missing = set(queues)
            while missing:
                found = await consumer.receive(len(queues))
                await asyncio.gather(*(delivery.settle() for delivery in found))
                missing -= {delivery.queue for delivery in found}
            assert not any(stats.ready + stats.in_flight for stats in (await there.queues(*queues)).values())


async def test_a_request_that_nobody_answers_is_told_while_others_are_served(nats_server: Any) -> None:
    link, other, deaf, news = Link(settings(nats_server.url)), Client(), *(uuid.uuid4().hex for _ in range(2))
    await other.connect(nats_server.url)
    await link.open()
    try:
        await other.subscribe(deaf)  # type: ignore[no-untyped-call]
        await other.flush()
        await link.subscribe(news, lambda _: None)
        start = time.monotonic()
        request = asyncio.ensure_future(link.request(deaf, write=True))
        while not request.done() and time.monotonic() < start + PATIENCE:
            await other.publish(news, b"news")
            await asyncio.wait([request], timeout=0.01)
        with pytest.raises(OutcomeUnknown):
            request.result()
        assert time.monotonic() - start >= TIMEOUT
    finally:
        await link.close()
        await other.close()


@pytest.mark.parametrize("written", [False, True], ids=["unsent", "sent"])
async def test_who_stood_still_hears_what_came_meanwhile(nats_server: Any, written: bool) -> None:
    link, other, deaf = Link(settings(nats_server.url)), Client(), uuid.uuid4().hex
    await other.connect(nats_server.url)
    await link.open()
    try:
        await other.subscribe(deaf)  # type: ignore[no-untyped-call]
        await other.flush()
        client = link.client
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            # So that it looks whether answers are late.
            watched = group.create_task(link.request(deaf, patience=2 * PATIENCE))
            while client._said != (client.stats["in_msgs"], 0):
                await asyncio.sleep(0.01)
            request = asyncio.ensure_future(link.request("$JS.API.INFO", write=True))
            await asyncio.sleep(0)
            while written and client.pending_data_size:
                await asyncio.sleep(0)
            time.sleep(2 * TIMEOUT)  # activities do so
            assert (await request).data
            watched.cancel()
    finally:
        await link.close()
        await other.close()


async def test_a_message_larger_than_a_portion_comes_in_its_turn(tmp_path: Path) -> None:
    with NatsServer(tmp_path, config={"max_payload": 4 << 20}) as server:
        async with (
            asyncio.timeout(PATIENCE),
            NatsTransport(settings(server.url)) as transport,
            transport.consume(["work"], lease=30.0) as consumer,
        ):
            sizes = [10, 3_000_000, 10, 3_000_000, 600_000, 600_000]
            for number, size in enumerate(sizes):
                await transport.publish(Publication("work", Message(f"m-{number}", bytes(size))))
            start, found = time.monotonic(), list[int]()
            while len(found) < len(sizes):
                for delivery in await consumer.receive(10):
                    await delivery.settle()
                    found.append(len(delivery.message.body))
            assert found == sizes
            assert time.monotonic() - start < 4.0  # a request that is silent is given up after 5 s


async def test_a_request_that_is_filled_is_no_sign_of_trouble(nats_server: Any) -> None:
    """The server tells the end of each with a bound; what it tells of a lost queue would pause half a second."""
    async with (
        asyncio.timeout(PATIENCE),
        NatsTransport(settings(nats_server.url)) as transport,
        transport.consume(["filled"], lease=30.0) as consumer,
    ):
        sizes = [600_000] + [10] * 40
        await transport.publish(*(Publication("filled", Message(f"m-{n}", bytes(s))) for n, s in enumerate(sizes)))
        start, left = time.monotonic(), len(sizes)
        while left:
            found = await consumer.receive(2)
            await asyncio.gather(*(delivery.settle() for delivery in found))
            left -= len(found)
        assert time.monotonic() - start < 4.0
