"""A NATS server that dies, restarts, hangs, loses its data or is cut off: everything goes on by itself."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from paigeant.abc import Consumer
from paigeant.errors import BackendError, BackendUnavailable, LeaseLost, OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant.model.store import ABSENT
from paigeant_nats.errors import translate
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer
from rig.proxy import Proxy

PATIENCE = 40.0
TIMEOUT = 1.0


def settings(url: str, **more: Any) -> NatsSettings:
    return NatsSettings(url=url, namespace=f"o-{uuid.uuid4().hex[:12]}", timeout=TIMEOUT, **more)


@asynccontextmanager
async def opened(url: str, **more: Any) -> AsyncIterator[NatsTransport]:
    async with asyncio.timeout(PATIENCE * 2):
        async with NatsTransport(settings(url, **more)) as transport:
            yield transport


def work(number: int | str) -> Publication:
    return Publication("work", Message(f"m-{number}", b"body"))


async def insist(act: Callable[[], Awaitable[object]]) -> None:
    """Repeat until it succeeds, as the core does: with the same ids."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OutcomeUnknown, BackendUnavailable):
                await act()
                return
            await asyncio.sleep(0.05)


async def stopped(server: NatsServer) -> None:
    """Signals take a moment."""
    while Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2][0] != "T":
        await asyncio.sleep(0.01)


async def take(consumer: Consumer, count: int) -> list[str]:
    """Receive and settle until as many different messages came."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while len(set(found)) < count:
            for delivery in await consumer.receive(100):
                found.append(delivery.message.id)
                with suppress(BackendError):
                    await delivery.settle()
    return found


async def test_a_restart_under_a_waiting_receiver(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport, transport.consume(["work", "other"], lease=5) as consumer:
        waiting = asyncio.create_task(consumer.receive(10))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(own_nats.kill)
        await asyncio.sleep(0.2)
        with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{own_nats.port}"):
            await transport.publish(work(1))
        assert not waiting.done()
        await asyncio.to_thread(own_nats.start)
        await insist(lambda: transport.publish(work(2)))
        async with asyncio.timeout(PATIENCE):
            [delivery] = await waiting
        assert delivery.message.id == "m-2"
        await delivery.settle()


async def test_kills_under_load_lose_nothing(own_nats: NatsServer) -> None:
    count = 300
    async with opened(own_nats.url) as transport, transport.consume(["work"], lease=3) as consumer:

        async def publish() -> None:
            for number in range(count):
                await insist(lambda n=number: transport.publish(work(n)))
                await asyncio.sleep(0.003)

        async def kill() -> None:
            for _ in range(3):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(own_nats.kill)
                await asyncio.to_thread(own_nats.start)

        taking = asyncio.create_task(take(consumer, count))
        await asyncio.gather(publish(), kill())
        assert set(await taking) == {f"m-{n}" for n in range(count)}


async def test_a_server_that_forgot_a_delivery_does_not_keep_its_worker(own_nats: NatsServer) -> None:
    """It confirms heartbeats for what it forgot, and no acknowledgement: the lease ends all the same."""
    async with opened(own_nats.url) as transport, transport.consume(["work"], lease=2.0) as consumer:
        await transport.publish(work(1))
        (delivery,) = await consumer.receive(1)
        own_nats.kill()
        [state.unlink() for state in own_nats.data.rglob("o.dat")]  # written some time after a delivery
        await asyncio.to_thread(own_nats.start)
        with pytest.raises(LeaseLost):
            async with asyncio.timeout(20):
                while True:
                    with suppress(OutcomeUnknown, BackendUnavailable):
                        await transport.renew([delivery.lease_token])
                        await delivery.settle()
        assert await take(consumer, 1) == ["m-1"]


async def test_lost_data_is_made_anew(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport, transport.consume(["work"], lease=5) as consumer:
        store = transport.state_store()
        await store.put("a/b", b"one")
        waiting = asyncio.create_task(consumer.receive(10))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own_nats.stop)
        own_nats.wipe()
        await asyncio.to_thread(own_nats.start)
        await insist(lambda: transport.publish(work(1)))
        async with asyncio.timeout(PATIENCE):
            [delivery] = await waiting
        await delivery.settle()
        await insist(lambda: store.put("a/b", b"two", expected=ABSENT))


@pytest.mark.parametrize("gone", ["stream", "consumer"])
async def test_what_an_operator_deletes_is_made_anew(nats_server: Any, gone: str) -> None:
    client = Client()
    await client.connect(nats_server.url)
    manager = client.jetstream()
    async with opened(nats_server.url) as transport, transport.consume(["work"], lease=5) as consumer:
        waiting = asyncio.create_task(consumer.receive(10))
        await asyncio.sleep(0.1)
        stream = f"paigeant_{transport.namespace}_queues"
        await (manager.delete_stream(stream) if gone == "stream" else manager.delete_consumer(stream, "work"))
        await insist(lambda: transport.publish(work(1)))
        async with asyncio.timeout(PATIENCE):
            [delivery] = await waiting
        await delivery.settle()
    await client.close()


async def test_a_server_that_hangs_is_told_in_time_and_a_repeat_is_no_second_message(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport:
        own_nats.pause()
        await stopped(own_nats)
        started = time.monotonic()
        try:
            with pytest.raises(OutcomeUnknown, match=f"127.0.0.1:{own_nats.port}"):
                await transport.publish(work(1))
            with pytest.raises(BackendUnavailable, match="PAIGEANT_NATS_TIMEOUT"):
                await transport.queues("work")
            assert time.monotonic() - started < 2 * TIMEOUT + 2
        finally:
            own_nats.resume()
        await insist(lambda: transport.publish(work(1)))
        assert (await transport.queues("work"))["work"].ready == 1


async def test_a_server_that_is_asked_again_has_no_longer_to_answer(
    nats_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with NatsTransport(settings(nats_server.url).model_copy(update={"timeout": PATIENCE})) as transport:
        link, left = transport._session.link, list[float]()
        request = link.request

        async def nobody_at_first(*args: Any, **options: Any) -> Any:
            if "patience" in options:
                left.append(options["patience"])
                if len(left) < 4:
                    raise translate(nats.errors.NoRespondersError(), "here", write=False)
            return await request(*args, **options)

        monkeypatch.setattr(link, "request", nobody_at_first)
        await transport.publish(work(1))
        assert left[0] == PATIENCE
        assert left == sorted(set(left), reverse=True)
        assert len(left) == 4


@pytest.mark.slow
async def test_a_cut_longer_than_every_timeout(own_nats: NatsServer) -> None:
    with Proxy(own_nats.host, own_nats.port) as proxy:
        url = f"nats://{proxy.host}:{proxy.port}"
        async with opened(url, connect_timeout=1) as transport, transport.consume(["work"], lease=5) as consumer:
            waiting = asyncio.create_task(consumer.receive(10))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(proxy.cut)
            with pytest.raises(OutcomeUnknown):
                await transport.publish(work(1))
            while transport._session.link.is_up:  # until it misses the answers to its pings
                await asyncio.sleep(0.1)
            await asyncio.to_thread(proxy.heal)
            await insist(lambda: transport.publish(work(1)))
            async with asyncio.timeout(PATIENCE):
                [delivery] = await waiting
            assert delivery.message.id == "m-1"
            await delivery.settle()
            assert (await transport.queues("work"))["work"].ready == 0


async def test_watchers_live_through_a_restart(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport:
        store = transport.state_store()
        changes = store.watch("a/b")
        assert await anext(changes) is None
        told = asyncio.ensure_future(anext(changes))
        await asyncio.to_thread(own_nats.kill)
        await asyncio.to_thread(own_nats.start)
        await insist(lambda: store.put("a/b", b"one"))
        async with asyncio.timeout(PATIENCE):
            entry = await told
        assert entry is not None
        assert entry.value == b"one"
        await changes.aclose()


async def test_nothing_is_left_behind(own_nats: NatsServer) -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        async with opened(own_nats.url) as transport, transport.consume(["work"], lease=5) as consumer:
            waiting = asyncio.create_task(consumer.receive(1))
            await transport.publish(work(1))
            await waiting
            await asyncio.to_thread(own_nats.restart)
            await insist(lambda: transport.queues("work"))
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() - before == set()
    client = Client()
    await client.connect(own_nats.url)
    assert client.client_id is not None
    await client.close()


async def test_bytes_that_cannot_be_written_any_more_are_no_error_that_nobody_saw(own_nats: NatsServer) -> None:
    """asyncio would log each as one."""
    async with opened(own_nats.url) as transport:
        client: Any = transport._session.link.client
        own_nats.pause()
        await stopped(own_nats)
        socket, calls = client._transport._io_writer.transport, list[asyncio.Task[None]]()
        while not (socket.get_write_buffer_size() and client.pending_data_size):
            message = Message(f"m-{len(calls)}", bytes(500_000))
            calls.append(asyncio.create_task(transport.publish(Publication("work", message))))
            await asyncio.sleep(0.01)
        await asyncio.to_thread(own_nats.kill)
        await asyncio.gather(*calls, return_exceptions=True)
        of_the_client = {client._reading_task, client._flusher_task, client._ping_interval_task}
        done, _ = await asyncio.wait(of_the_client)
        assert not [task for task in done if not task.cancelled() and task.exception()]


async def test_closing_while_the_server_is_gone_takes_no_time(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport, transport.consume(["work"], lease=5):
        await asyncio.to_thread(own_nats.kill)
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await transport.disconnect()
        assert time.monotonic() - started < 4


async def test_a_waiting_receiver_asks_for_nothing_again_and_again(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport, transport.consume(["a", "b", "c"], lease=30) as consumer:
        waiting = asyncio.create_task(consumer.receive(10))
        await asyncio.sleep(0.3)
        sent = transport._session.link.client.stats["out_msgs"]
        await asyncio.sleep(2)
        assert transport._session.link.client.stats["out_msgs"] == sent
        waiting.cancel()
        await asyncio.wait([waiting])
