"""NATS through stalls, cancelled calls and instances that come and go."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from paigeant import DeadLetters
from paigeant.errors import BackendClosed, BackendError, BackendUnavailable, OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant_nats import hints, leases
from paigeant_nats.settings import NatsSettings
from paigeant_nats.store import NatsStore
from paigeant_nats.subscriptions import Subscriber
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer
from rig.proxy import Proxy

PATIENCE = 8.0
"""Seconds: less than it takes to notice that a connection is silent."""


def settings(url: str, **more: Any) -> NatsSettings:
    return NatsSettings(url=url, namespace=f"r-{uuid.uuid4().hex[:12]}", **{"timeout": 1.0, **more})


@asynccontextmanager
async def opened(url: str, **more: Any) -> AsyncIterator[NatsTransport]:
    async with NatsTransport(settings(url, **more)) as transport:
        yield transport


def work(number: int | str, queue: str = "work") -> Publication:
    return Publication(queue, Message(f"m-{number}", b"body"))


async def until(true: Any, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.01)


async def test_the_server_knows_that_a_consumer_left_before_it_is_gone(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it sends the next message to nobody: the answer to a ping tells only of what was written before the ping."""
    written: list[bytes] = []
    async with opened(own_nats.url) as transport:
        socket: Any = transport._session.link.client._transport
        write, write_all = socket.write, socket.writelines
        monkeypatch.setattr(socket, "write", lambda data: (written.append(data), write(data))[1])
        monkeypatch.setattr(socket, "writelines", lambda data: (written.extend(data), write_all(data))[1])
        async with transport.consume(["work"], lease=30) as consumer:
            waiting = asyncio.create_task(consumer.receive(1))
            await asyncio.sleep(0)
            waiting.cancel()
    verbs = [verb for line in written if (verb := line.split()[0]) in {b"UNSUB", b"PING"}]
    assert b"UNSUB" in verbs
    assert b"PING" in verbs[verbs.index(b"UNSUB") :]


async def test_leaving_a_consumer_during_a_stall_makes_nobody_deaf(own_nats: NatsServer) -> None:
    """The answer to a ping whose sender gave up comes when the server goes on."""
    with Proxy(own_nats.host, own_nats.port) as proxy:
        async with opened(f"nats://{proxy.host}:{proxy.port}") as transport:
            async with transport.consume(["work"], lease=30):
                await asyncio.to_thread(proxy.cut)
            client = transport._session.link.client
            await asyncio.to_thread(proxy.heal)
            async with asyncio.timeout(PATIENCE):
                await transport.queues("work")
                await asyncio.sleep(0.3)
                await transport.publish(work(1))
            assert transport._session.link.client is client


async def test_a_reader_that_ended_is_replaced_at_once(nats_server: Any) -> None:
    async with opened(nats_server.url) as transport, transport.consume(["work"], lease=30) as consumer:
        waiting = asyncio.create_task(consumer.receive(1))
        await asyncio.sleep(0.1)
        before = len(asyncio.all_tasks())
        client = transport._session.link.client
        client._reading_task.cancel()  # type: ignore[union-attr]
        await until(lambda: transport._session.link._client is not client and transport._session.link.is_up, PATIENCE)
        await transport.publish(work(1))
        async with asyncio.timeout(PATIENCE):
            [delivery] = await waiting
        await delivery.settle()
        await until(lambda: len(asyncio.all_tasks()) < before, PATIENCE)  # the receiver has ended


async def test_the_end_of_another_connection_does_not_make_the_loop_spin(nats_server: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("random.sample", lambda hosts, count: list(hosts))  # the dead one first
    async with opened(f"nats://127.0.0.1:1,127.0.0.1:{nats_server.port}") as transport, asyncio.timeout(PATIENCE):
        await transport.queues("work")
        began = time.process_time()
        await asyncio.sleep(1)  # which never ends where the loop spins
        assert time.process_time() - began < 0.5


async def test_closing_while_a_lost_cancellation_reconnects_ends(own_nats: NatsServer, monkeypatch: Any) -> None:
    """What awaits a lock and its time limit may swallow a cancellation; the connection made then is closed."""
    async with opened(own_nats.url) as transport:
        link = transport._session.link
        connect, connecting, lost = link._connect, asyncio.Event(), list[Any]()

        async def swallow() -> Any:
            connecting.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                lost.append(await connect())
            return lost[0]

        monkeypatch.setattr(link, "_connect", swallow)
        link.client._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        async with asyncio.timeout(PATIENCE):
            await connecting.wait()
            await transport.disconnect()
        assert lost[0].is_closed


async def test_a_receiver_is_told_when_the_transport_closes_while_the_streams_are_looked_after(
    own_nats: NatsServer, monkeypatch: Any
) -> None:
    async with opened(own_nats.url) as transport, transport.consume(["work"], lease=30) as consumer:
        session, mending = transport._session, asyncio.Event()
        waiting = asyncio.create_task(consumer.receive(1))
        await asyncio.sleep(0.1)

        async def never() -> None:
            mending.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(session, "_prepare", never)
        await asyncio.to_thread(own_nats.restart)
        async with asyncio.timeout(PATIENCE):
            await mending.wait()
            await asyncio.sleep(0.1)
            await transport.disconnect()
            with pytest.raises(BackendClosed):
                await waiting


async def test_looking_for_the_stream_of_the_store_ends_with_the_connection(nats_server: Any, monkeypatch: Any) -> None:
    before = asyncio.all_tasks()
    async with opened(nats_server.url) as transport:
        session, looking = transport._session, asyncio.Event()

        async def electing() -> None:
            session.link.check()
            looking.set()
            raise BackendUnavailable("no leader")

        monkeypatch.setattr(session, "_prepare_state", electing)
        reading = asyncio.create_task(transport.state_store().get("a"))
        await looking.wait()
        await transport.disconnect()
        assert not [task for task in asyncio.all_tasks() - before - {reading} if not task.done()]
        with pytest.raises(BackendClosed):
            await reading


async def test_a_queue_out_of_reach_does_not_stop_the_others(own_nats: NatsServer, monkeypatch: Any) -> None:
    async with opened(own_nats.url) as transport, transport.consume(["good", "bad"], lease=30) as consumer:
        mending = consumer._mending  # type: ignore[attr-defined]
        declare = mending._declare

        async def refuse(queue: str) -> int:
            if queue == "bad":
                raise BackendUnavailable("its leader is gone")
            return int(await declare(queue))

        monkeypatch.setattr(mending, "_declare", refuse)
        waiting = asyncio.create_task(consumer.receive(1))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own_nats.restart)
        await until(lambda: transport._session.link.is_up)
        for number in range(5):
            await transport.publish(work(number, "good"))
            async with asyncio.timeout(PATIENCE):
                [delivery] = await waiting
            await delivery.settle()
            waiting = asyncio.create_task(consumer.receive(1))
        monkeypatch.setattr(mending, "_declare", declare)
        await transport.publish(work(9, "bad"))
        async with asyncio.timeout(PATIENCE):
            [delivery] = await waiting
        assert delivery.queue == "bad"
        await delivery.settle()


async def test_a_purge_that_is_cancelled_leaves_nothing_leased_to_nobody(own_nats: NatsServer) -> None:
    with Proxy(own_nats.host, own_nats.port, delay=0.1) as proxy:
        async with opened(f"nats://{proxy.host}:{proxy.port}") as transport, transport.consume(["work"], lease=600):
            await transport.publish(*(work(n) for n in range(600)))
            sent = transport._session.link.client.stats
            before, purging = sent["in_msgs"], asyncio.create_task(transport.purge("work"))
            await until(lambda: sent["in_msgs"] > before)  # now it asks for messages
            await asyncio.sleep(0.15)
            purging.cancel()  # they are leased, and on their way
            await asyncio.wait([purging])
            stats = (await transport.queues("work"))["work"]
            assert (stats.ready, stats.in_flight) == (600 - 256, 0)


async def test_leases_of_a_consumer_that_left_without_a_connection_are_forgotten(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport:
        before = len(leases._leases)
        async with transport.consume(["work"], lease=600) as consumer:
            await transport.publish(*(work(n) for n in range(10)))
            held = await consumer.receive(10)
            await asyncio.to_thread(own_nats.kill)
            await until(lambda: not transport._session.link.is_up)
        assert held
        assert len(leases._leases) == before


async def test_closing_many_consumers_of_a_silent_server_takes_no_longer_than_one(own_nats: NatsServer) -> None:
    with Proxy(own_nats.host, own_nats.port) as proxy:
        async with opened(f"nats://{proxy.host}:{proxy.port}") as transport:
            consumers = [transport.consume([f"q-{n}"], lease=5) for n in range(5)]
            entered = [await each.__aenter__() for each in consumers]
            assert entered
            await asyncio.to_thread(proxy.cut)
            started = time.monotonic()
            await transport.disconnect()
            assert time.monotonic() - started < 6
            for each in consumers:
                await each.__aexit__(None, None, None)
            assert time.monotonic() - started < 7


async def test_a_store_whose_closing_is_cancelled_is_closed(nats_server: Any) -> None:
    before = asyncio.all_tasks()
    store = NatsStore(NatsSettings(url=nats_server.url, namespace=f"r-{uuid.uuid4().hex[:12]}"))
    await store.connect()
    store._hints._cleaning = asyncio.create_task(asyncio.sleep(30))
    closing = asyncio.create_task(store.disconnect())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


async def test_what_became_due_in_a_long_outage_is_found_at_once(nats_server: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(hints, "_BUCKET", 0.25)
    async with NatsStore(NatsSettings(url=nats_server.url, namespace=f"r-{uuid.uuid4().hex[:12]}")) as store:
        now = await store.now()
        assert await store.due(now) == []
        await store.put("timer", b"", due=now + 0.5)
        await asyncio.sleep(2.5)  # nobody looks
        assert await store.due(await store.now()) == ["timer"]


async def test_watchers_of_one_key_share_one_subscription(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport:
        store = transport.state_store()
        await store.put("a", b"0")
        before = len(transport._session.link._subscriptions._all)

        begun = list[object]()

        async def watch() -> None:
            async with aclosing(store.watch("a")) as changes:
                begun.append(await anext(changes))
                await anext(changes)

        tasks = [asyncio.create_task(watch()) for _ in range(20)]
        await until(lambda: len(begun) == len(tasks))
        assert len(transport._session.link._subscriptions._all) == before + 1
        await store.put("a", b"1")
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*tasks)
        assert len(transport._session.link._subscriptions._all) == before


async def test_two_thousand_watchers_come_and_go_while_the_connection_is_replaced(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as transport:
        link, heard = transport._session.link, set[str]()
        subject = f"paigeant.{transport.namespace}.w"
        some = [await link.subscribe(f"{subject}.{n}", lambda msg: heard.add(msg.subject)) for n in range(2000)]
        down = asyncio.Event()
        link.on_down.append(down.set)
        link.client._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        await down.wait()
        for each in some[:1500]:
            await link.unsubscribe(each)
            await asyncio.sleep(0)
        await link.listen(Subscriber(f"{subject}.new", lambda msg: heard.add(msg.subject)))
        await until(lambda: link.is_up)
        for each in some[1500:]:
            await link.send(each.subject, b"")
        await link.send(f"{subject}.new", b"")
        await until(lambda: len(heard) == 501, PATIENCE)
        assert len(link.client._subs) == 502


async def test_what_was_under_way_at_the_disconnect_may_have_happened(own_nats: NatsServer) -> None:
    with Proxy(own_nats.host, own_nats.port) as proxy:
        async with opened(f"nats://{proxy.host}:{proxy.port}", timeout=30.0) as transport:
            store = transport.state_store()
            await store.put("a", b"1")
            await transport.publish(work(1))
            await asyncio.to_thread(proxy.cut)
            calls = [transport.publish(work(2)), store.put("a", b"2"), store.get("a")]
            under_way = asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: len(transport._session.link._waiting) == 3)
            await transport.disconnect()
            assert [type(told) for told in await under_way] == [OutcomeUnknown, OutcomeUnknown, BackendClosed]


async def test_two_instances_on_two_servers_are_not_mixed_up(own_nats: NatsServer, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "other") as server:
        settings = [NatsSettings(url=url, namespace="same", timeout=1.0) for url in (own_nats.url, server.url)]
        async with (
            NatsTransport(settings[0]) as one,
            NatsTransport(settings[1]) as two,
            one.consume(["work"], lease=5) as a,
            two.consume(["work"], lease=5) as b,
        ):
            await one.publish(work(1))
            await two.publish(work(2))
            [first], [second] = await asyncio.gather(a.receive(1), b.receive(1))
            assert (first.message.id, second.message.id) == ("m-1", "m-2")
            revisions = [await each.state_store().put("k", b"") for each in (one, two)]
            assert revisions == [1, 1]
            await asyncio.gather(first.settle(), second.settle())


async def test_a_transport_that_was_closed_serves_again(nats_server: Any) -> None:
    async with opened(nats_server.url) as transport:
        store = transport.state_store()
        for number in range(3):
            await store.put("a", str(number).encode())
            async with transport.consume(["work"], lease=5) as consumer, aclosing(store.watch("a")) as changes:
                await transport.publish(work(number))
                [delivery] = await consumer.receive(1)
                await delivery.settle()
                assert await anext(changes) is not None
                waiting = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0)
                await transport.disconnect()
                with pytest.raises(BackendError):
                    await waiting
                with pytest.raises(BackendClosed):
                    await delivery.settle()
            await transport.connect()


async def test_a_dead_letter_is_replayed_although_its_id_is_remembered(nats_server: Any) -> None:
    """The window in which repeats are dropped outlasts the mending of a worker."""
    async with opened(nats_server.url) as transport, DeadLetters(transport) as dead:
        assert transport.capabilities.dedup_window > 0
        await transport.publish(work(1))
        async with transport.consume(["work"], lease=30) as consumer:
            for replays in (1, 2):
                async with asyncio.timeout(PATIENCE):
                    [delivery] = await consumer.receive(1)
                await delivery.settle(Publication("work.dead", delivery.message))
                assert await dead.replay("work") == 1
                assert (await transport.queues("work.dead"))["work.dead"].ready == 0, f"replay {replays}"
            async with asyncio.timeout(PATIENCE):
                [delivery] = await consumer.receive(1)
            assert delivery.message.body == b"body"
            await delivery.settle()
