"""Redis killed, frozen, cut off, emptied, full: everything recovers by itself and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as bare

from paigeant.errors import (
    BackendCorrupt,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    LeaseLost,
    OutcomeUnknown,
)
from paigeant.model.message import Message, Publication
from paigeant.model.store import ABSENT, Write
from paigeant_redis.dial import Dialer
from paigeant_redis.settings import RedisSettings
from paigeant_redis.transport import RedisTransport
from paigeant_redis.wire import Wire
from rig.brokers import RedisServer
from rig.proxy import Proxy

from .redis_kit import PATIENCE, one, publication, repeat


def settings(url: str, **more: Any) -> RedisSettings:
    return RedisSettings(url=url, namespace="ns", **{"timeout": 1.0, "connect_timeout": 1.0, **more})


@asynccontextmanager
async def bare_client(server: RedisServer) -> AsyncIterator[bare.Redis]:
    client = bare.Redis(port=server.port)
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_killed_server_comes_back_with_everything(own_redis: RedisServer) -> None:
    async with RedisTransport(settings(own_redis.url)) as transport:
        store = transport.state_store()
        await store.put("a", b"one", due=5.0)
        async with transport.consume(["work"], lease=3.0) as consumer:
            waiting = asyncio.ensure_future(one(consumer))
            await transport.publish(publication(1), publication(2), publication("late", delay=1.0))
            held = await waiting
            receiving = asyncio.ensure_future(consumer.receive(10))
            (second,) = await receiving
            await second.settle()
            own_redis.kill()
            with pytest.raises(BackendError):
                await transport.publish(publication(3))
            receiving = asyncio.ensure_future(one(consumer))
            own_redis.start()
            await repeat(lambda: transport.publish(publication(3)))
            entry = await store.get("a")
            assert entry is not None and (entry.value, entry.due) == (b"one", 5.0)
            await held.settle()  # the lease, too, was kept
            found = {(await receiving).message.id}
            while found != {"m-3", "m-late"}:  # m-3 perhaps twice, if its first answer came too late
                found.add((await one(consumer)).message.id)


@pytest.mark.parametrize("fault", ["restart", "drop"])
async def test_a_waiting_receiver_survives_the_loss_of_its_connection(own_redis: RedisServer, fault: str) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy:
        async with (
            RedisTransport(settings(f"redis://{proxy.host}:{proxy.port}")) as transport,
            transport.consume(["work"], lease=30.0) as consumer,
        ):
            receiving = asyncio.ensure_future(one(consumer))
            await asyncio.sleep(0.1)
            if fault == "restart":
                own_redis.restart()
            else:
                proxy.drop()
            await repeat(lambda: transport.publish(publication(1)))
            assert (await receiving).message.id == "m-1"


async def test_a_black_hole_is_noticed_in_seconds_and_forgotten(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy:
        async with (
            RedisTransport(settings(f"redis://{proxy.host}:{proxy.port}")) as transport,
            transport.consume(["work"], lease=30.0) as consumer,
        ):
            receiving = asyncio.ensure_future(one(consumer))
            await asyncio.sleep(0.05)
            proxy.cut()
            start = time.monotonic()
            with pytest.raises(OutcomeUnknown, match=str(proxy.port)):
                await transport.publish(publication(1))
            with pytest.raises(BackendUnavailable, match="PAIGEANT_REDIS_URL"):
                await transport.publish(publication(1))
            assert time.monotonic() - start < 4.0
            await asyncio.sleep(1.5)  # the receiver, too, meets its time-out
            proxy.heal()
            await repeat(lambda: transport.publish(publication(2)))
            found = {(await receiving).message.id}
            while "m-2" not in found:
                found.add((await one(consumer)).message.id)


async def test_an_answer_may_take_longer_than_the_time_out_while_it_is_coming(own_redis: RedisServer) -> None:
    large = Publication("work", Message("large", bytes(4_000_000)))
    with Proxy(own_redis.host, own_redis.port, delay=0.03) as proxy:  # 2 MB/s
        slow = settings(f"redis://{proxy.host}:{proxy.port}", connect_timeout=PATIENCE)
        async with (
            RedisTransport(settings(own_redis.url)) as here,
            RedisTransport(slow) as there,
            there.consume(["work"], lease=30.0) as consumer,
        ):
            await here.publish(large)
            delivery = await one(consumer)
            assert (delivery.deliveries, delivery.message.body) == (1, large.message.body)
            await delivery.settle()


async def test_an_answer_may_take_longer_than_the_time_out_while_the_question_is_on_its_way(
    own_redis: RedisServer,
) -> None:
    """And who asks for little meanwhile has to wait as long."""
    large = Publication("work", Message("large", bytes(4_000_000)))
    with Proxy(own_redis.host, own_redis.port, delay=0.03) as proxy:  # 2 MB/s
        slow = settings(f"redis://{proxy.host}:{proxy.port}", connect_timeout=PATIENCE)
        async with RedisTransport(slow) as transport:
            await asyncio.gather(transport.publish(large), transport.publish(publication(1)), transport.queues("work"))
            assert (await transport.queues("work"))["work"].ready == 2


async def test_who_is_cancelled_while_sending_cuts_off_nobody_else(own_redis: RedisServer) -> None:
    large = Publication("work", Message("large", bytes(15_000_000)))  # more than the network takes by itself
    async with RedisTransport(settings(own_redis.url, timeout=PATIENCE)) as transport:
        own_redis.pause()
        try:
            publishing = asyncio.ensure_future(transport.publish(large))
            await asyncio.sleep(0.1)
            asking = asyncio.ensure_future(transport.queues("work"))
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.wait([asking])
        finally:
            own_redis.resume()
        await publishing
        assert (await transport.queues("work"))["work"].ready == 1


async def test_no_library_repeats_a_write(own_redis: RedisServer) -> None:
    """A frozen server gets the message once, although the caller was told that nobody knows."""
    async with RedisTransport(settings(own_redis.url)) as transport:
        await transport.publish(publication(0))
        own_redis.pause()
        with pytest.raises(OutcomeUnknown):
            await transport.publish(publication(1))
        own_redis.resume()
        await repeat(lambda: transport.queues("work"))
        assert (await transport.queues("work"))["work"].ready == 2


async def test_after_a_wipe_everything_goes_on(own_redis: RedisServer) -> None:
    async with RedisTransport(settings(own_redis.url)) as transport, bare_client(own_redis) as client:
        store = transport.state_store()
        before = await store.put("a", b"one")
        async with transport.consume(["work"], lease=2.0) as consumer:
            await transport.publish(publication(1))
            gone = await one(consumer)
            receiving = asyncio.ensure_future(one(consumer))
            await asyncio.sleep(0.05)
            await client.flushall()
            await client.script_flush()
            await transport.publish(publication(2))
            assert (await receiving).message.id == "m-2"
            with pytest.raises(LeaseLost):
                await gone.settle()
            assert await store.put("a", b"two", expected=ABSENT) > before
        async with transport.consume(["work"], lease=2.0):
            pass  # the lease of the queue was declared anew, as it was


async def test_a_foreign_message_is_received_as_it_is(own_redis: RedisServer) -> None:
    foreign: list[tuple[dict[str, bytes], bytes]] = [
        ({"x": b"y", "z": b"\xff"}, b"x\ny\nz\n\xff"),
        ({"m": b"no line breaks"}, b""),
        ({"m": b"\xff\n{\n"}, b"\xff\n{\n"),
        ({"m": b"id\n[1]\nbody"}, b"id\n[1]\nbody"),
    ]
    async with RedisTransport(settings(own_redis.url)) as transport, bare_client(own_redis) as client:
        async with transport.consume(["work"], lease=2.0) as consumer:
            for fields, body in foreign:
                await client.xadd("{paigeant:ns}:q:work", dict(fields))
                delivery = await one(consumer)
                assert (delivery.message.headers, delivery.message.body) == ({}, body)
                await delivery.settle(Publication("work.dead", delivery.message))
        assert (await transport.queues("work.dead"))["work.dead"].ready == len(foreign)


async def test_a_foreign_key_of_ours_is_named_and_harms_nobody_else(own_redis: RedisServer) -> None:
    async with RedisTransport(settings(own_redis.url)) as transport, bare_client(own_redis) as client:
        await client.set("{paigeant:ns}:q:bad", "text")
        ends = await asyncio.gather(
            transport.publish(publication(1, "bad")), transport.publish(publication(1)), return_exceptions=True
        )
        assert isinstance(ends[0], BackendCorrupt) and ends[1] is None
        await client.set("{paigeant:ns}:e:a", "short")
        with pytest.raises(BackendCorrupt, match="'a'"):
            await transport.state_store().get("a")


async def test_out_of_memory_refuses_new_work_and_finishes_what_is_there(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "full", config={"maxmemory": "0", "maxmemory-policy": "noeviction"}) as server:
        async with RedisTransport(settings(server.url)) as transport, bare_client(server) as client:
            await transport.publish(publication(1), publication(2))
            await client.config_set("maxmemory", "1")
            with pytest.raises(BackendUnavailable, match="maxmemory"):
                await transport.publish(publication(3))
            with pytest.raises(BackendUnavailable, match="maxmemory"):
                await transport.state_store().put("a", b"")
            assert await transport.state_store().get("a") is None
            async with transport.consume(["work"], lease=30.0) as consumer:
                await (await one(consumer)).settle(publication(4, "next"), writes=[Write("b", b"two")])
                await (await one(consumer)).release(0.1)
                await (await one(consumer)).settle()
            await client.config_set("maxmemory", "0")
            await transport.publish(publication(3))
            stats = await transport.queues("work", "next")
            assert (stats["work"].ready, stats["next"].ready) == (1, 1)


async def test_a_replica_is_left_and_nothing_is_claimed_there(own_redis: RedisServer) -> None:
    async with (
        RedisTransport(settings(own_redis.url)) as transport,
        bare_client(own_redis) as client,
        transport.consume(["work"], lease=30.0) as consumer,
    ):
        receiving = asyncio.ensure_future(one(consumer))
        await asyncio.sleep(0.05)
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(BackendUnavailable, match="replica"):
            await transport.publish(publication(1))
        await client.execute_command("REPLICAOF", "NO", "ONE")
        await repeat(lambda: transport.publish(publication(2)))
        assert (await receiving).message.id == "m-2"


async def test_a_server_that_is_left_is_asked_nothing_more(own_redis: RedisServer) -> None:
    """However busy the connection is: it is hung up when what was asked before is answered, and that comes."""
    async with bare_client(own_redis) as client, asyncio.timeout(PATIENCE):
        wire = Wire(Dialer(settings(own_redis.url)), PATIENCE)
        old = await wire.call("CLIENT", "ID")
        asked = asyncio.ensure_future(wire.call("BLPOP", "key", 0))
        await asyncio.sleep(0)
        wire.leave()
        new = asyncio.ensure_future(wire.call("CLIENT", "ID"))
        await asyncio.sleep(0)
        await client.rpush("key", "value")
        assert await asked == [b"key", b"value"]
        assert await new != old
        await wire.close()


async def test_wrong_addresses_and_logins_are_named(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "locked", config={"requirepass": "secret"}) as server:
        for url, kind, words in [
            ("redis://127.0.0.1:1", BackendUnavailable, "127.0.0.1:1.*PAIGEANT_REDIS_URL"),
            ("redis://no-such-host.invalid", BackendUnavailable, "no-such-host.invalid:6379"),
            (server.url, ConfigurationError, "PAIGEANT_REDIS_PASSWORD"),
            (f"redis://:wrong@127.0.0.1:{server.port}", ConfigurationError, "PAIGEANT_REDIS_PASSWORD"),
            (f"rediss://:secret@127.0.0.1:{server.port}", BackendUnavailable, "TLS"),
        ]:
            with pytest.raises(kind, match=words) as refused:
                await RedisTransport(settings(url)).connect()
            assert "secret" not in str(refused.value) and refused.value.__cause__ is not None
        async with RedisTransport(settings(f"redis://:secret@127.0.0.1:{server.port}")) as transport:
            await transport.publish(publication(1))


async def test_a_login_that_is_refused_for_a_while_ends_nobody(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As while a password is being changed: who was let in once waits, and is told why."""
    async with (
        bare_client(own_redis) as client,
        RedisTransport(settings(own_redis.url)) as transport,
        transport.consume(["work"], lease=30.0) as consumer,
    ):
        await transport.publish(publication(1))
        held = await one(consumer)
        receiving = asyncio.ensure_future(one(consumer))
        await client.config_set("requirepass", "other")
        await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        async with asyncio.timeout(PATIENCE):
            while not any("nothing" in line and "PAIGEANT_REDIS_PASSWORD" in line for line in caplog.messages):
                await asyncio.sleep(0.01)
        with pytest.raises(BackendUnavailable, match="PAIGEANT_REDIS_PASSWORD") as refused:
            await held.settle(publication(2))
        assert isinstance(refused.value.__cause__, ConfigurationError)
        await client.config_set("requirepass", "")
        await repeat(lambda: held.settle(publication(2)))
        assert (await receiving).message.id == "m-2"


async def test_a_user_with_few_rights(own_redis: RedisServer) -> None:
    url = f"redis://{{}}:pw@127.0.0.1:{own_redis.port}"
    async with bare_client(own_redis) as client:
        rights = [
            "on",
            ">pw",
            "resetchannels",
            "~{paigeant:*",
            "&{paigeant:*",
            "+@all",
            "-@admin",
            "-@dangerous",
            "+info",
        ]
        await client.execute_command("ACL", "SETUSER", "enough", *rights)
        await client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+@read", "+info")
    async with RedisTransport(settings(url.format("enough"))) as transport:
        async with transport.consume(["work"], lease=30.0) as consumer:
            await transport.publish(publication(1))
            await (await one(consumer)).settle(writes=[Write("a", b"one")])
        assert (await transport.state_store().get("a")) is not None
        subjects = {finding.subject for finding in await transport.diagnose()}
        assert {"version", "appendonly", "rights"} <= subjects
    with pytest.raises(ConfigurationError, match="ACL SETUSER"):
        await RedisTransport(settings(url.format("few"))).connect()


async def test_nothing_is_left_behind(own_redis: RedisServer) -> None:
    """Neither tasks, nor connections, nor keys."""
    before = asyncio.all_tasks()
    async with bare_client(own_redis) as client:
        async with RedisTransport(settings(own_redis.url)) as transport:
            for seconds in (0.0, 0.02, 0.2):  # cancelled before, while and after it finds nothing
                async with transport.consume(["work"], lease=2.0) as consumer:
                    receiving = asyncio.ensure_future(consumer.receive(1))
                    await asyncio.sleep(seconds)
                    receiving.cancel()
                    await asyncio.wait([receiving])
                changes = transport.state_store().watch("a")
                await anext(changes)
                await changes.aclose()
        assert asyncio.all_tasks() == before
        async with asyncio.timeout(PATIENCE):
            while len(await client.client_list()) > 1:
                await asyncio.sleep(0.01)
        keys = {key.decode() for key in await client.keys("*")} - {"{paigeant:ns}:b:work"}
        assert keys == {"{paigeant:ns}:queues", "{paigeant:ns}:q:work"}
