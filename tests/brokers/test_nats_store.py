"""The store of NATS: what the kit cannot see."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.client import Client

from paigeant.errors import BackendCorrupt, MessageTooLarge, OutcomeUnknown, RevisionConflict
from paigeant.model.store import ABSENT, KEEP
from paigeant_nats import hints
from paigeant_nats.settings import NatsSettings
from paigeant_nats.store import NatsStore


@pytest.fixture
async def store(nats_server: Any) -> AsyncIterator[NatsStore]:
    settings = NatsSettings(url=nats_server.url, namespace=f"s-{uuid.uuid4().hex[:12]}")
    async with asyncio.timeout(60), NatsStore(settings) as connected:
        yield connected


async def hints_of(store: NatsStore) -> list[str]:
    names = store._session.names
    return await store._session.api.subjects(names.state, f"{names.prefix}.d.>")


async def test_moving_due_later_costs_no_hint(store: NatsStore) -> None:
    now = await store.now()
    revision = await store.put("run/a/0", b"", expected=ABSENT, due=now + 30)
    for step in range(5):
        revision = await store.put("run/a/0", b"", expected=revision, due=now + 31 + step)
    assert len(await hints_of(store)) == 1
    await store.put("run/a/0", b"", expected=revision, due=now + 10)
    assert len(await hints_of(store)) == 2
    assert await store.due(now + 10) == ["run/a/0"]


async def test_another_process_that_read_the_entry_needs_no_hint_either(store: NatsStore) -> None:
    now = await store.now()
    await store.put("run/a/0", b"", due=now + 30)
    async with store.clone() as other:
        entry = await other.get("run/a/0")
        assert entry is not None
        revision = await other.put("run/a/0", b"x", expected=entry.revision, due=now + 60)
        await other.put("run/a/0", KEEP, expected=revision, due=now + 90)
    assert len(await hints_of(store)) == 1
    assert await store.due(now + 60) == []  # looked at, and not due yet
    assert await store.due(now + 90) == ["run/a/0"]


async def test_a_loser_cannot_hide_the_hint_of_the_winner(store: NatsStore) -> None:
    now = await store.now()
    revision = await store.put("run/a/0", b"", due=None)
    writes = [store.put("run/a/0", b"", expected=revision, due=now - n) for n in range(20)]
    ends = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(end, RevisionConflict) for end in ends) == 19
    assert await store.due(now) == ["run/a/0"]


async def test_old_hints_are_moved_or_removed(store: NatsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_SETTLED_AFTER", 0.0)
    now = await store.now()
    for key in ("ended", "moved", "due"):
        await store.put(key, b"", due=now - 5)
    await store.put("ended", b"", due=None)
    entry = await store.get("moved")
    assert entry is not None
    await store.put("moved", b"", expected=entry.revision, due=now + 500)
    async with asyncio.timeout(20):
        while len(found := await hints_of(store)) != 2 or not any(f.endswith(".moved") for f in found):
            assert await store.due(now) == ["due"]
            await asyncio.sleep(0.05)
    assert set(await store.due(now + 500)) == {"due", "moved"}


async def test_all_old_hints_are_removed_after_one_look(store: NatsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many workflows end in a second: what stays is read again at each look, by every worker."""
    monkeypatch.setattr(hints, "_SETTLED_AFTER", 0.0)
    now = await store.now()
    await asyncio.gather(*(store.put(f"run/{n}/0", b"", due=now - 5) for n in range(500)))
    await asyncio.gather(*(store.put(f"run/{n}/0", b"", due=None) for n in range(500)))
    assert await store.due(now) == []
    async with asyncio.timeout(20):
        while await hints_of(store):
            await asyncio.sleep(0.02)


async def test_a_hint_that_was_refused_is_filed_by_the_next_write(store: NatsStore, nats_server: Any) -> None:
    now = await store.now()
    revision = await store.put("a", b"")
    client = Client()
    await client.connect(nats_server.url)
    manager, stream = client.jetstream(), store._session.names.state
    config = (await manager.stream_info(stream)).config
    config.max_msgs = 1  # what replaces an entry has room, a hint has none
    await manager.update_stream(config)
    with pytest.raises(OutcomeUnknown, match="'a' was stored"):
        await store.put("a", b"one", expected=revision, due=now - 2)
    entry = await store.get("a")
    assert entry is not None
    assert (entry.value, entry.revision > revision) == (b"one", True)
    config.max_msgs = -1
    await manager.update_stream(config)
    await client.close()
    await store.put("a", b"two", expected=entry.revision, due=now - 1)
    assert await store.due(now) == ["a"]


async def test_a_young_hint_stays_although_its_entry_is_not_there_yet(store: NatsStore) -> None:
    session, now = store._session, await store.now()
    await session.link.request(hints.hint_subject(session, "late", now - 1), write=True)
    assert await store.due(now) == []
    await asyncio.sleep(0.2)
    await session.link.request(session.names.entry("late"), b"\x00", write=True)
    assert len(await hints_of(store)) == 1


async def test_hints_filed_long_ago_are_found(store: NatsStore) -> None:
    """By a process that was not there when they were filed, and by one that was and looked away."""
    session, now = store._session, await store.now()
    await store.put("a", b"", due=now - 1)
    [subject] = await hints_of(store)
    old = subject.replace(f".d.{subject.split('.')[3]}.", ".d.1.")
    await session.link.request(old, write=True)
    await session.api.call(f"STREAM.PURGE.{session.names.state}", {"filter": subject}, write=True)
    assert await store.due(now) == ["a"]
    assert await store.due(now) == ["a"]
    async with store.clone() as other:
        assert await other.due(now) == ["a"]


async def test_a_revision_is_never_used_again_even_when_the_marks_are_gone(store: NatsStore) -> None:
    first = await store.put("a", b"one")
    await store.delete("a")
    session = store._session
    await session.api.call(f"STREAM.PURGE.{session.names.state}", {}, write=True)
    second = await store.put("a", b"two", expected=ABSENT)
    assert second > first
    with pytest.raises(RevisionConflict):
        await store.put("a", b"x", expected=first)


async def test_an_entry_of_somebody_else_is_told(store: NatsStore, nats_server: Any) -> None:
    client = Client()
    await client.connect(nats_server.url)
    await client.jetstream().publish(f"paigeant.{store.namespace}.e.odd", b"not ours")
    await client.close()
    with pytest.raises(BackendCorrupt, match="'odd'"):
        await store.get("odd")
    assert await store.scan("other") == []


async def test_a_value_has_a_limit(store: NatsStore) -> None:
    most = store.capabilities.max_message
    assert most is not None
    with pytest.raises(MessageTooLarge, match="max_payload"):
        await store.put("a", bytes(most + 1))
    await store.put("a", bytes(most))


async def test_a_watcher_sees_the_end_of_a_ttl(store: NatsStore) -> None:
    await store.put("a", b"one", ttl=1.0)
    changes = store.watch("a")
    entry = await anext(changes)
    assert entry is not None
    async with asyncio.timeout(10):
        assert await anext(changes) is None
    await changes.aclose()


async def test_a_thousand_watchers_are_told_of_their_own_key_only(store: NatsStore) -> None:
    seen: dict[str, int] = {}

    async def watch(key: str) -> None:
        async for _ in store.watch(key):
            seen[key] = seen.get(key, 0) + 1

    keys = [f"w/{n}" for n in range(1000)]
    tasks = [asyncio.create_task(watch(key)) for key in keys]
    async with asyncio.timeout(30):
        while len(seen) < 1000:
            await asyncio.sleep(0.01)
        for key in keys[:100]:
            await store.put(key, b"")
        while sum(seen.values()) < 1100:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert {seen[key] for key in keys[:100]} == {2}
    assert {seen[key] for key in keys[100:]} == {1}
    assert not store._watches._subscribers
