"""Entries in Redis: revisions, time, indexes and watching beyond what the kit asks."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import aclosing
from typing import Any

import pytest
import redis.asyncio as bare

from paigeant.errors import ConfigurationError, RevisionConflict
from paigeant.model.store import ABSENT, KEEP, Entry
from paigeant_redis.settings import RedisSettings
from paigeant_redis.store import RedisStore
from rig.brokers import RedisServer
from rig.proxy import Proxy


@pytest.fixture
def settings(redis_server: Any) -> RedisSettings:
    return RedisSettings(url=redis_server.url, namespace=f"t-{uuid.uuid4().hex[:12]}", timeout=1.0, connect_timeout=1.0)


async def test_revisions_rise_across_keys_and_a_wipe(own_redis: RedisServer) -> None:
    async with RedisStore(RedisSettings(url=own_redis.url)) as store:
        revisions = [await store.put(key, b"") for key in "abab"]
        client = bare.Redis(port=own_redis.port)
        await client.flushall()
        await client.aclose()
        revisions.append(await store.put("a", b"", expected=ABSENT))
        assert revisions == sorted(set(revisions))
        with pytest.raises(RevisionConflict):
            await store.put("a", b"", expected=revisions[2])


async def test_due_is_exact_to_the_bit(settings: RedisSettings) -> None:
    async with RedisStore(settings) as store:
        for due in (0.1 + 0.2, 1763843123.1234567, -5.0, 1e300, 5e-324, float("inf")):
            await store.put("a", b"", due=due)
            entry = await store.get("a")
            assert entry is not None and entry.due == due
            assert await store.due(due) == ["a"]
        with pytest.raises(ConfigurationError):
            await store.put("a", b"", due=float("nan"))


async def test_what_expired_hides_no_due_key(settings: RedisSettings) -> None:
    async with RedisStore(settings) as store:
        for number in range(50):
            await store.put(f"gone/{number}", b"", due=1.0, ttl=0.001)
        await store.put("here", b"", due=2.0)
        await asyncio.sleep(0.01)
        assert await store.due(10.0, 5) == ["here"]
        assert await store.scan("gone/") == []


async def test_scan_pages_over_what_expired(settings: RedisSettings) -> None:
    async with RedisStore(settings) as store:
        for number in range(30):
            await store.put(f"a/{number:02}", b"", ttl=0.001 if number < 25 else None)
        await asyncio.sleep(0.01)
        assert [entry.key for entry in await store.scan("a/", limit=3)] == ["a/25", "a/26", "a/27"]


async def test_large_values_and_batches(settings: RedisSettings) -> None:
    value = bytes(range(256)) * 8192
    async with RedisStore(settings) as store:
        await asyncio.gather(*(store.put(f"a/{n}", value) for n in range(24)))
        found = await asyncio.gather(*(store.get(f"a/{n}") for n in range(24)))
        assert all(entry is not None and entry.value == value for entry in found)
        await store.put("a/0", KEEP, due=1.0)
        entry = await store.get("a/0")
        assert entry is not None and (entry.value, entry.due) == (value, 1.0)


async def test_now_is_the_servers(settings: RedisSettings) -> None:
    async with RedisStore(settings) as store:
        assert abs(await store.now() - time.time()) < 0.5
        first, second = await store.now(), await store.now()
        assert first <= second


async def test_a_watcher_hears_at_once_and_survives_its_connection(settings: RedisSettings) -> None:
    server = settings.target().hosts[0]
    with Proxy(server.host, server.port) as proxy:
        here = settings.model_copy(update={"url": f"redis://{proxy.host}:{proxy.port}"})
        async with RedisStore(here) as store, RedisStore(settings) as there, aclosing(store.watch("a")) as changes:
            assert await anext(changes) is None
            await asyncio.sleep(0.1)
            for number in range(5):
                start = time.perf_counter()
                await there.put("a", str(number).encode())
                entry = await anext(changes)
                assert entry is not None and entry.value == str(number).encode()
                assert time.perf_counter() - start < 1.5  # looking by itself would take two seconds
            proxy.drop()
            await there.put("a", b"meanwhile")
            async with asyncio.timeout(10):
                entry = await anext(changes)
            assert entry is not None and entry.value == b"meanwhile"


def _pauses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Which pauses the watchers announced, attempt by attempt."""
    return [record.args[0] for record in caplog.records if "not heard of" in record.msg]  # type: ignore[index, misc]


async def test_a_watcher_that_was_served_comes_back_quickly_every_time(
    settings: RedisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    server = settings.target().hosts[0]
    with Proxy(server.host, server.port) as proxy:
        here = settings.model_copy(update={"url": f"redis://{proxy.host}:{proxy.port}"})
        async with RedisStore(here) as store, aclosing(store.watch("a")) as changes, asyncio.timeout(10):
            await anext(changes)
            for number in range(1, 7):
                await _standing(store, "a")
                proxy.drop()
                while len(_pauses(caplog)) < number:
                    await asyncio.sleep(0.001)
    assert max(_pauses(caplog)) <= 0.05


async def test_a_watcher_that_is_let_in_and_refused_asks_less_and_less(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = bare.Redis(port=own_redis.port)
    await client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all", "resetchannels")
    few = RedisSettings(url=f"redis://few:pw@127.0.0.1:{own_redis.port}")
    async with RedisStore(few) as store, aclosing(store.watch("a")) as changes, asyncio.timeout(10):
        await anext(changes)
        while max(_pauses(caplog), default=0.0) < 0.4:
            await asyncio.sleep(0.01)
    assert len(_pauses(caplog)) <= 5
    await client.aclose()


async def test_many_watchers_share_one_connection(own_redis: RedisServer) -> None:
    client = bare.Redis(port=own_redis.port)
    async with RedisStore(RedisSettings(url=own_redis.url)) as store:
        watchers = [store.watch(f"a/{number}") for number in range(50)]
        await asyncio.gather(*map(anext, watchers))
        told = [asyncio.ensure_future(anext(watcher)) for watcher in watchers]
        await asyncio.sleep(0.1)
        assert len(await client.client_list()) == 3  # this one, the commands, the watches
        await asyncio.gather(*(store.put(f"a/{number}", b"x") for number in range(50)))
        async with asyncio.timeout(10):
            entries = await asyncio.gather(*told)
        assert all(entry is not None and entry.value == b"x" for entry in entries)
        for watcher in watchers:
            await watcher.aclose()
    await client.aclose()


async def _standing(store: RedisStore, key: str) -> None:
    watches = store._link.server().watches
    async with asyncio.timeout(10):
        while key not in watches._standing:
            await asyncio.sleep(0.01)


async def test_a_short_entry_is_told_and_not_read_again(
    settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RedisStore(settings) as store, aclosing(store.watch("a")) as changes:
        await store.put("a", b"0")
        assert await anext(changes) is not None
        await _standing(store, "a")
        reads: list[str] = []
        read = store.get
        monkeypatch.setattr(store, "get", lambda key: reads.append(key) or read(key))
        for number in range(1, 6):
            revision = await store.put("a", str(number).encode(), due=7.5)
            entry = await anext(changes)
            assert entry == Entry("a", str(number).encode(), revision, 7.5)
        assert len(reads) <= 1  # because the subscription stood
        await store.put("a", b"x" * 600)
        entry = await anext(changes)
        assert entry is not None and entry.value == b"x" * 600


@pytest.mark.parametrize(
    "news", [b"", b"nonsense", b"%016d%24s rolled back" % (7, b"")], ids=["read", "foreign", "old"]
)
async def test_news_that_say_nothing_new_are_not_believed(settings: RedisSettings, news: bytes) -> None:
    async with RedisStore(settings) as store, aclosing(store.watch("a")) as changes:
        await store.put("a", b"true")
        first = await anext(changes)
        assert first is not None and first.value == b"true"
        client = bare.Redis.from_url(settings.url)
        await _standing(store, "a")
        following = asyncio.ensure_future(anext(changes))
        await client.publish(f"{store._link.server().prefix}:w:a", news)
        await client.aclose()
        await asyncio.sleep(0.1)  # for the news to be heard; it says nothing
        await store.put("a", b"also true")
        async with asyncio.timeout(10):
            entry = await following
        assert entry is not None and entry.value == b"also true"
