"""What the in-memory transport promises beyond the contract."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time
import tracemalloc

import pytest

from paigeant.abc import Delivery
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryConsumer, InMemoryTransport
from paigeant.errors import BackendClosed, LeaseLost, RevisionConflict
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import ABSENT, KEEP, Write
from paigeant.testing import VirtualClock

LEASE = 30.0


def publication(number: int, queue: str = "work", **more: float) -> Publication:
    return Publication(queue, Message(f"m-{number}", b"body"), **more)


async def receive(transport: InMemoryTransport, queue: str = "work") -> list[str]:
    """Ids of what is ready, settled."""
    async with transport.consume([queue], lease=LEASE) as consumer:
        count = (await transport.queues(queue))[queue].ready
        found = await consumer.receive(count) if count else list[Delivery]()
        for delivery in found:
            await delivery.settle()
        return [delivery.message.id for delivery in found]


# --- the broker and its name


async def test_instances_of_one_url_and_namespace_share_a_broker() -> None:
    async with InMemoryTransport("inmemory://a", namespace="one") as first:
        async with InMemoryTransport("inmemory://a", namespace="one") as second:
            await first.publish(publication(1))
            assert await receive(second) == ["m-1"]
        for other in (
            InMemoryTransport("inmemory://b", namespace="one"),
            InMemoryTransport("inmemory://a", namespace="two"),
        ):
            async with other:
                await first.publish(publication(2))
                assert await receive(other) == []
                assert await receive(first) == ["m-2"]


async def test_a_store_alone_joins_the_broker_too() -> None:
    async with InMemoryTransport(namespace="joined") as transport, InMemoryStore(namespace="joined") as store:
        await transport.publish(writes=[Write("a", b"one", ABSENT)])
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"one"


async def test_the_last_to_leave_is_told_once_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    first, second = (InMemoryTransport("inmemory://lost", namespace="told") for _ in range(2))
    await first.connect()
    await second.connect()
    await first.publish(publication(1), publication(2, delay=60), publication(3, "other"))
    await first.disconnect()
    assert not caplog.records
    await second.disconnect()
    await second.disconnect()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for part in ("inmemory://lost", "'told'", "3 unsettled", "PAIGEANT_TRANSPORT=sqlite"):
        assert part in record.getMessage()
    async with first:
        assert await receive(first) == []
    assert len(caplog.records) == 1


async def test_nothing_lost_nothing_told(caplog: pytest.LogCaptureFixture) -> None:
    async with InMemoryTransport(namespace="clean") as transport:
        await transport.publish(publication(1))
        assert await receive(transport) == ["m-1"]
        store = transport.state_store()
        await store.put("a", b"one")
    assert not caplog.records


# --- time


async def test_leases_delays_and_ttls_follow_the_clock_given() -> None:
    clock = VirtualClock(5000.0)
    async with InMemoryTransport(namespace="virtual", clock=clock) as transport:
        store = transport.state_store()
        assert await store.now() == 5000.0
        await store.put("a", b"one", ttl=100)
        await transport.publish(publication(1, delay=50))
        async with transport.consume(["work"], lease=20.0) as consumer:
            waiting = asyncio.create_task(consumer.receive(1))
            await clock.advance(49.9)
            assert not waiting.done()
            await clock.advance(0.2)
            [stale] = await waiting
            again = asyncio.create_task(consumer.receive(1))
            await clock.advance(19.0)
            assert await transport.renew([stale.lease_token]) == set()
            await clock.advance(19.9)
            assert not again.done()
            await clock.advance(0.2)
            [current] = await again
            assert current.deliveries == 2
            with pytest.raises(LeaseLost):
                await stale.settle()
            await current.settle()
        assert await store.get("a") is not None
        await clock.advance(20)
        assert await store.get("a") is None


async def test_a_wall_clock_that_jumps_moves_no_lease() -> None:
    clock = VirtualClock()
    async with InMemoryTransport(namespace="jump", clock=clock) as transport:
        await transport.publish(publication(1))
        async with transport.consume(["work"], lease=20.0) as consumer:
            [delivery] = await consumer.receive(1)
            clock.jump(1e6)
            await delivery.release(5)
            waiting = asyncio.create_task(consumer.receive(1))
            clock.jump(-2e6)
            await clock.advance(5)
            [delivery] = await waiting
            await delivery.settle()


class _Ticking(VirtualClock):
    """A second passes between any two looks at it."""

    _ticks = 0

    def monotonic(self) -> float:
        self._ticks += 1
        return super().monotonic() + self._ticks


async def test_an_entry_does_not_expire_in_the_middle_of_an_act() -> None:
    for ttl in range(1, 12):
        async with InMemoryTransport(f"inmemory://ticking-{ttl}", clock=_Ticking()) as transport:
            await transport.state_store().put("a", b"one", ttl=ttl)
            with contextlib.suppress(RevisionConflict):
                await transport.publish(publication(1), writes=[Write("b", b""), Write("a", KEEP)])
                assert await receive(transport) == ["m-1"]


async def test_a_message_past_its_ttl_is_dropped_unread() -> None:
    clock = VirtualClock()
    async with InMemoryTransport(namespace="ttl", clock=clock) as transport:
        await transport.publish(publication(1, ttl=10), publication(2))
        await clock.advance(9)
        assert (await transport.queues("work"))["work"].ready == 2
        await clock.advance(2)
        assert (await transport.queues("work"))["work"] == QueueStats(1, 0, 0, 0)
        assert [m.id for m in await transport.peek("work")] == ["m-2"]
        assert await receive(transport) == ["m-2"]


async def test_unread_messages_past_their_ttl_do_not_pile_up() -> None:
    clock = VirtualClock()
    async with InMemoryTransport(namespace="pile", clock=clock) as transport:
        for n in range(100):
            await transport.publish(publication(n, ttl=10))
            await clock.advance(1)
        queue = transport.broker.queue("work")
        assert queue.count() <= 11
        queue.ready.clear()


async def test_an_ended_lease_is_lost_even_if_nobody_took_over() -> None:
    clock = VirtualClock()
    async with InMemoryTransport(namespace="late", clock=clock) as transport:
        await transport.publish(publication(1))
        async with transport.consume(["work"], lease=20.0) as consumer:
            [delivery] = await consumer.receive(1)
            await clock.advance(20)
            assert await transport.renew([delivery.lease_token]) == {delivery.lease_token}
            with pytest.raises(LeaseLost):
                await delivery.settle()
            with pytest.raises(LeaseLost):
                await delivery.release()
            assert (await transport.queues("work"))["work"].ready == 1
            [again] = await consumer.receive(1)
            await again.settle()


async def test_what_a_consumer_held_is_free_as_soon_as_it_leaves() -> None:
    async with InMemoryTransport(namespace="free") as transport:
        await transport.publish(publication(1), publication(2))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            await (await consumer.receive(1))[0].settle()
            await consumer.receive(1)
        assert await receive(transport) == ["m-2"]


async def test_those_who_wait_for_a_delayed_message_take_turns() -> None:
    """One that only puts it back, as it cannot handle it, would else get it again and again."""
    served: list[str] = []

    async def put_back(transport: InMemoryTransport, name: str) -> None:
        async with transport.consume(["work"], lease=LEASE) as consumer:
            while len(served) < 40:
                for delivery in await consumer.receive(1):
                    served.append(name)
                    await delivery.settle(publication(1, delay=0.002))

    async with InMemoryTransport(namespace="turns") as transport, asyncio.TaskGroup() as tasks:
        tasks.create_task(put_back(transport, "a"))
        tasks.create_task(put_back(transport, "b"))
        await asyncio.sleep(0)
        await transport.publish(publication(1))
    assert served[:40] == ["a", "b"] * 20


async def test_a_watcher_is_told_when_its_entry_expires() -> None:
    clock = VirtualClock()
    async with InMemoryStore(namespace="watch", clock=clock) as store:
        await store.put("a", b"one", ttl=10)
        changes = store.watch("a")
        assert await anext(changes) is not None
        gone = asyncio.ensure_future(anext(changes))
        await clock.advance(11)
        assert await gone is None
        await changes.aclose()


async def test_a_watcher_ends_with_its_store() -> None:
    async with InMemoryTransport(namespace="ends") as transport, InMemoryStore(namespace="ends") as store:
        changes = store.watch("a")
        assert await anext(changes) is None
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await store.disconnect()
        with pytest.raises(BackendClosed):
            await waiting
        assert not transport.broker.watchers


# --- threads


async def test_eight_threads_lose_and_repeat_nothing() -> None:
    total, seen, lock = 400, list[str](), threading.Lock()

    async def work(base: InMemoryTransport) -> None:
        async with base.clone() as transport, transport.consume(["work"], lease=LEASE) as consumer:
            while True:
                for delivery in await consumer.receive(3):
                    if delivery.message.id == "stop":
                        await delivery.settle(Publication("work", delivery.message))
                        return
                    with lock:
                        seen.append(delivery.message.id)
                    await delivery.settle()

    async with InMemoryTransport(namespace="threads") as transport:
        workers = [asyncio.to_thread(lambda: asyncio.run(work(transport))) for _ in range(8)]
        running = asyncio.gather(*workers)
        for n in range(total):
            await transport.publish(publication(n))
            if n % 20 == 0:
                await asyncio.sleep(0)
        await transport.publish(Publication("work", Message("stop", b"")))
        await running
        assert sorted(seen) == sorted(f"m-{n}" for n in range(total))
        await transport.purge("work")


def test_a_consumer_whose_loop_is_gone_harms_nobody() -> None:
    transport = InMemoryTransport(namespace="gone")

    async def open_consumer() -> InMemoryConsumer:
        await transport.connect()
        return InMemoryConsumer(transport.broker, transport, ["work"], LEASE)

    async def use() -> list[str]:
        await transport.publish(publication(1))
        return await receive(transport)

    consumer = asyncio.run(open_consumer())
    assert asyncio.run(use()) == ["m-1"]
    consumer.close()  # outside any loop, as when it is garbage-collected
    asyncio.run(transport.disconnect())


# --- cost


async def test_a_full_queue_does_not_keep_other_tasks_waiting() -> None:
    async with InMemoryTransport(namespace="full") as transport, transport.consume(["work"], lease=LEASE) as consumer:

        async def forever() -> None:
            while True:
                for delivery in await consumer.receive(1):
                    await delivery.settle(publication(1))

        await transport.publish(publication(1))
        task = asyncio.create_task(forever())
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        await transport.purge("work")


async def test_memory_is_flat_over_many_messages_and_puts() -> None:
    async with InMemoryTransport(namespace="flat") as transport, transport.consume(["work"], lease=LEASE) as consumer:
        store = transport.state_store()

        async def turn(n: int) -> None:
            await transport.publish(publication(n))
            [delivery] = await consumer.receive(1)
            key = f"c/{n}/root"
            await delivery.settle(
                writes=[Write(key, bytes(1000), due=float(n), ttl=1e6), Write("same", b"", due=float(n), ttl=99)]
            )
            await store.delete(key)

        for n in range(500):
            await turn(n)
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        for n in range(3000):
            await turn(n)
        gc.collect()
        grown = sum(stat.size_diff for stat in tracemalloc.take_snapshot().compare_to(before, "filename"))
        tracemalloc.stop()
        assert grown < 100_000  # 3000 entries of 1000 bytes would be thirty times that


@pytest.mark.slow
async def test_a_hop_costs_little() -> None:
    """At most 25 microseconds of processor time on the machine it was measured on; four times that here."""
    async with InMemoryTransport(namespace="cost") as transport, transport.consume(["work"], lease=LEASE) as consumer:
        store, body, best = transport.state_store(), bytes(1000), float("inf")
        await store.put("c/a/b", b"start")
        for _ in range(3):
            start = time.process_time()
            for n in range(2000):
                await transport.publish(Publication("work", Message(str(n), body)))
                [delivery] = await consumer.receive(1)
                entry = await store.get("c/a/b")
                assert entry is not None
                writes = [Write("c/a/b", b"next", entry.revision, due=1.0), Write("j/a/b", b"journal")]
                await delivery.settle(Publication("next", Message(str(n), body)), writes=writes)
            best = min(best, (time.process_time() - start) / 2000)
        await transport.purge("next")
    assert best < 100e-6
