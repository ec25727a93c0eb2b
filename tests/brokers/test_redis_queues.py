"""Queues of Redis: how soon, how exact, who owns what, and what is left behind."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio as bare

from paigeant.abc import Delivery
from paigeant.errors import ConfigurationError, LeaseLost, MessageTooLarge
from paigeant.model.message import Message, Publication
from paigeant.model.store import KEEP, Write
from paigeant_redis.settings import RedisSettings
from paigeant_redis.transport import RedisTransport
from rig.brokers import RedisServer

from ..support import quickest
from .redis_kit import PATIENCE, one, publication


@pytest.fixture
def settings(redis_server: Any) -> RedisSettings:
    return RedisSettings(url=redis_server.url, namespace=f"t-{uuid.uuid4().hex[:12]}")


async def keys_of(settings: RedisSettings) -> set[str]:
    client = bare.Redis.from_url(settings.url or "")
    try:
        found = [key.decode() async for key in client.scan_iter(f"{{paigeant:{settings.namespace}}}*")]
        return {key.partition("}:")[2] for key in found}
    finally:
        await client.aclose()


async def test_an_idle_receiver_hears_at_once(settings: RedisSettings) -> None:
    waits: list[float] = []
    async with (
        RedisTransport(settings) as there,
        RedisTransport(settings) as here,
        here.consume(["a", "b"], lease=30.0) as consumer,
    ):
        for number in range(30):
            receiving = asyncio.ensure_future(one(consumer))
            await asyncio.sleep(0.005)
            start = time.perf_counter()
            await there.publish(publication(number, "ab"[number % 2]))
            delivery = await receiving
            waits.append(time.perf_counter() - start)
            await delivery.settle()
    assert sorted(waits)[15] < 0.05, waits  # looking by itself would take half a second


async def test_waiting_asks_the_server_about_once_a_second(own_redis: RedisServer) -> None:
    client = bare.Redis(port=own_redis.port)
    async with (
        RedisTransport(RedisSettings(url=own_redis.url)) as transport,
        transport.consume(["work"], lease=30.0) as consumer,
    ):
        receiving = asyncio.ensure_future(consumer.receive(1))
        await asyncio.sleep(0.1)
        before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        await asyncio.sleep(2.5)
        after = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        receiving.cancel()
        await asyncio.wait([receiving])
    await client.aclose()
    assert after - before <= 4


async def test_every_idle_receiver_is_woken_for_a_burst(settings: RedisSettings) -> None:
    """One ring wakes one; whoever leaves something behind rings for the next."""
    limit = 0.85  # each would look by itself after a second
    async with RedisTransport(settings) as transport:
        assert await quickest(lambda: burst(transport), limit) < limit


async def burst(transport: RedisTransport) -> float:
    """Seconds until each of five waiting consumers has one of five messages."""
    async with AsyncExitStack() as stack:
        consumers = [await stack.enter_async_context(transport.consume(["work"], lease=30.0)) for _ in range(5)]
        receiving = [asyncio.ensure_future(one(consumer)) for consumer in consumers]
        await asyncio.sleep(0.1)
        start = time.perf_counter()
        await transport.publish(*(publication(n) for n in range(5)))
        got = await asyncio.gather(*receiving)
        took = time.perf_counter() - start
        assert {delivery.message.id for delivery in got} == {f"m-{n}" for n in range(5)}
        for delivery in got:
            await delivery.settle()
    return took


async def test_delays_are_exact_and_survive_a_restart(own_redis: RedisServer) -> None:
    limit = 0.1
    assert await quickest(lambda: lateness(own_redis), limit) < limit


async def lateness(server: RedisServer) -> float:
    """The median of messages that were delayed before a restart; the first ones are due while the server is away."""
    settings = RedisSettings(url=server.url)
    delays = [0.9, 0.3, 1.6, 0.6, 1.2]
    async with RedisTransport(settings) as transport:
        start = time.monotonic()
        await transport.publish(*(publication(n, delay=delay) for n, delay in enumerate(delays)))
    server.kill()
    server.start()
    late: dict[str, float] = {}
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        for _ in delays:
            delivery = await one(consumer)
            late[delivery.message.id] = time.monotonic() - start - delays[int(delivery.message.id[2:])]
            await delivery.settle()
    assert min(late.values()) >= -0.01, late
    return sorted(late.values())[2]


async def test_a_delay_wakes_an_idle_receiver_in_time_while_another_is_busy(settings: RedisSettings) -> None:
    limit = 0.9  # looking by itself may take a second
    async with RedisTransport(settings) as transport:
        assert 0.39 <= await quickest(lambda: woken_by_a_delay(transport), limit) < limit


async def woken_by_a_delay(transport: RedisTransport) -> float:
    """Seconds until the second of two waiting consumers has what was delayed by 0.4."""
    async with transport.consume(["work"], lease=30.0) as busy, transport.consume(["work"], lease=30.0) as idle:
        first, second = asyncio.ensure_future(one(busy)), asyncio.ensure_future(one(idle))
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await transport.publish(publication("late", delay=0.4))
        await transport.publish(publication(1))
        done, rest = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        found = [task.result() for task in done]
        assert [delivery.message.id for delivery in found] == ["m-1"]
        found.append(await rest.pop())
        took = time.monotonic() - start
        assert found[1].message.id == "m-late"
        for delivery in found:
            await delivery.settle()
    return took


async def test_the_fence_is_owner_and_count(settings: RedisSettings) -> None:
    """Also against itself: a consumer that slept past its lease and received the message again."""
    async with RedisTransport(settings) as transport:
        async with transport.consume(["work"], lease=0.2) as consumer:
            await transport.publish(publication(1))
            stale = await one(consumer)
            current = await one(consumer)
            assert (stale.deliveries, current.deliveries) == (1, 2)
            assert await transport.renew([stale.lease_token, current.lease_token]) == {stale.lease_token}
            for act in (stale.settle(publication(2, "next")), stale.release(), stale.release(1.0)):
                with pytest.raises(LeaseLost):
                    await act
            await current.settle(publication(3, "next"))
        assert [message.id for message in await transport.peek("next")] == ["m-3"]


async def test_settling_one_delivery_twice_at_once_takes_effect_once(settings: RedisSettings) -> None:
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        await transport.publish(publication(1))
        delivery = await one(consumer)
        acts = [delivery.settle(publication(n, "next")) for n in range(3)] + [delivery.release()]
        ends = await asyncio.gather(*acts, return_exceptions=True)
        assert [type(end) for end in ends].count(LeaseLost) == 3
        assert len(await transport.peek("next")) == 1
        assert (await transport.queues("work"))["work"].ready == 0


async def test_a_claim_that_reached_nobody_counts_no_delivery(settings: RedisSettings) -> None:
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        for _ in range(10):
            receiving = asyncio.ensure_future(consumer.receive(1))
            await transport.publish(publication(1))
            receiving.cancel()
            await asyncio.wait([receiving])
            delivery = await one(consumer) if receiving.cancelled() else receiving.result()[0]
            assert delivery.deliveries == 1
            await delivery.settle()


async def test_a_claim_ends_with_the_message_that_fills_it(settings: RedisSettings) -> None:
    """So a portion of large messages arrives in time on a slow network, too; the rest is there for anyone, in order."""
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        await transport.publish(*(Publication("work", Message(f"m-{n}", bytes(300_000))) for n in range(14)))
        portions = list[list[Delivery]]()
        async with transport.consume(["work"], lease=30.0) as other, asyncio.timeout(PATIENCE):
            for receiver in (consumer, other, consumer):
                portions.append(await receiver.receive(30))
            assert (await transport.queues("work"))["work"].ready == 2
            found = [delivery for portion in portions for delivery in portion] + await other.receive(30)
        assert [len(portion) for portion in portions] == [4, 4, 4]
        assert [(each.message.id, each.deliveries) for each in found] == [(f"m-{n}", 1) for n in range(14)]
        await asyncio.gather(*(delivery.settle() for delivery in found))
        await transport.publish(Publication("work", Message("huge", bytes(2_000_000))))
        assert (await one(consumer)).message.id == "huge"


async def test_limits_are_checked_before_anything_is_sent(settings: RedisSettings) -> None:
    small = settings.model_copy(update={"max_message": 2000})
    async with RedisTransport(small) as transport:
        large = Publication("work", Message("m", bytes(2001)))
        for act in (
            transport.publish(publication(1), large),
            transport.publish(publication(1), writes=[Write("a", bytes(2001))]),
        ):
            with pytest.raises(MessageTooLarge, match="PAIGEANT_REDIS_MAX_MESSAGE"):
                await act
        with pytest.raises(ConfigurationError):
            await transport.publish(publication(1), publication(2, delay=float("nan")))
        assert await transport.queues() == {}


async def test_what_was_received_is_passed_on_although_the_limit_is_lower_here(settings: RedisSettings) -> None:
    """As while a raised limit is being rolled out."""
    body, lower = b"b" * 3000, settings.model_copy(update={"max_message": 2048})
    async with RedisTransport(settings) as large, RedisTransport(lower) as small:
        await large.publish(Publication("work", Message("m", body)))
        async with small.consume(["work"], lease=30.0) as consumer:
            await (await one(consumer)).release()
            delivery = await one(consumer)
            with pytest.raises(MessageTooLarge, match="PAIGEANT_REDIS_MAX_MESSAGE"):
                await delivery.settle(Publication("next", Message("more", body + b"b")))
            with pytest.raises(MessageTooLarge, match="more than 2048; raise"):
                await small.publish(Publication("work", Message("m", body)))
            await delivery.settle(Publication("work.dead", Message("m", body, {"error": "e"})))
        assert await large.peek("work.dead") == [Message("m", body, {"error": "e"})]


async def test_another_lease_is_refused_with_the_way_out(settings: RedisSettings) -> None:
    async with RedisTransport(settings) as transport:
        async with transport.consume(["work"], lease=30.0):
            pass
        with pytest.raises(ConfigurationError, match=r"30 s, not 60 s.*HDEL"):
            async with transport.consume(["other", "work"], lease=60.0):
                pass
        assert "other" not in await transport.queues()


async def test_names_and_headers_of_any_kind_come_back(settings: RedisSettings) -> None:
    messages = [
        Message("two\nlines", b"\n\n", {"a\n": "b\r\n", "": ""}),
        Message('"quoted"', b"", {}),
        Message("", b"\x00\xff", {"ü": "☃"}),
    ]
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        for message in messages:
            await transport.publish(Publication("work", message))
            delivery = await one(consumer)
            assert delivery.message == message
            await delivery.settle()


async def test_nothing_grows(settings: RedisSettings) -> None:
    """Ten times the work leaves the same keys, and no more elements in them."""
    async with RedisTransport(settings) as transport:
        store = transport.state_store()
        sizes: list[dict[str, int]] = []
        for turn in (20, 200):
            async with transport.consume(["work"], lease=30.0) as consumer:
                for start in range(0, turn, 20):
                    numbers = range(start, start + 20)
                    delays = {number: 0.001 * (number % 3) for number in numbers}
                    await transport.publish(*(publication(n, delay=delays[n]) for n in numbers))
                    for number in numbers:
                        delivery = await one(consumer)
                        if number % 4 == 0:
                            await delivery.release()
                            delivery = await one(consumer)
                        await delivery.settle(writes=[Write("a/1", b"", due=float(number))])
                        await store.put(f"t/{number}", b"", due=1.0, ttl=0.001)
                        await store.put(f"t/{number}x", b"", due=1.0)
                        await store.delete(f"t/{number}x")
            await store.put("a/1", KEEP)
            await asyncio.sleep(0.01)
            await store.put("b", b"", ttl=1000.0)  # takes what has expired out of the indexes
            sizes.append(await _sizes(settings))
    assert sizes[0] == sizes[1], sizes


async def _sizes(settings: RedisSettings) -> dict[str, int]:
    client = bare.Redis.from_url(settings.url or "")
    measure = {b"stream": client.xlen, b"zset": client.zcard, b"list": client.llen, b"hash": client.hlen}
    prefix = f"{{paigeant:{settings.namespace}}}:"
    try:
        sizes: dict[str, int] = {}
        for name in await keys_of(settings):
            kind = await client.type(prefix + name)
            sizes[name] = await measure[kind](prefix + name) if kind in measure else 1
        return sizes
    finally:
        await client.aclose()


async def test_queues_of_one_process_go_with_it(settings: RedisSettings) -> None:
    async with RedisTransport(settings) as transport:
        async with transport.consume(["reply"], lease=30.0, expires=0.2):
            await transport.publish(publication(1, "reply"))
        await transport.publish(publication(2, "other-reply", ttl=0.2))
        await transport.publish(publication(3, "kept", ttl=0.2), publication(4, "kept"))
        async with transport.consume(["work"], lease=30.0, expires=0.2) as consumer:
            async with asyncio.timeout(PATIENCE):
                while set(await transport.queues()) != {"kept", "work"}:
                    await asyncio.sleep(0.05)
            await transport.publish(publication(5))
            assert (await one(consumer)).message.id == "m-5"
        assert len(await transport.peek("kept")) == 2
        assert not any("reply" in key for key in await keys_of(settings))


async def test_namespaces_do_not_meet(settings: RedisSettings) -> None:
    other = settings.model_copy(update={"namespace": settings.namespace + "-2"})
    async with RedisTransport(settings) as a, RedisTransport(other) as b:
        await a.publish(publication(1), writes=[Write("a", b"one")])
        assert await b.queues() == {}
        assert await b.state_store().get("a") is None


async def test_presence_is_counted_and_ends(settings: RedisSettings) -> None:
    async with RedisTransport(settings) as transport:
        async with transport.consume(["work"], lease=30.0), transport.consume(["work"], lease=30.0):
            assert (await transport.queues("work"))["work"].consumers == 2
        assert (await transport.queues("work"))["work"].consumers == 0
