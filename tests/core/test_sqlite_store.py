"""The SQLite store against a simple model, batched at random, and what its watchers see."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paigeant.builtin.sqlite.store import SqliteStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import ConfigurationError, MessageTooLarge, RevisionConflict
from paigeant.model.store import ABSENT, ANY, KEEP, Entry, Expected, Write
from paigeant.testing.clock import VirtualClock

KEYS = ["a", "b/c", "b/d"]


@dataclass
class Step:
    """A put (value), a touch (``KEEP``) or a delete (``None``), with what it expects."""

    key: str
    value: object
    guess: str
    due: float | None


steps = st.builds(
    Step,
    st.sampled_from(KEYS),
    st.sampled_from([b"x", b"y", KEEP, None]),
    st.sampled_from(["any", "absent", "right", "stale"]),
    st.sampled_from([None, 1.0, 2.0]),
)


@dataclass
class Model:
    """What the contract says, one operation at a time."""

    entries: dict[str, tuple[bytes, int, float | None]] = field(default_factory=dict)
    highest: int = 0

    def expected(self, step: Step) -> Expected:
        found = self.entries.get(step.key)
        revision = found[1] if found else self.highest + 1000
        return {"any": ANY, "absent": ABSENT, "right": revision, "stale": revision - 1}[step.guess]

    def accepts(self, step: Step, expected: Expected) -> bool:
        found = self.entries.get(step.key)
        if step.value is KEEP and found is None:
            return False
        if expected is ANY:
            return True
        return found is None if expected is ABSENT else found is not None and found[1] == expected

    def apply(self, step: Step, revision: int) -> None:
        if step.value is None:
            self.entries.pop(step.key, None)
            return
        assert revision > self.highest, "revisions rise and are never reused"
        self.highest = revision
        value = self.entries[step.key][0] if step.value is KEEP else step.value
        assert isinstance(value, bytes)
        self.entries[step.key] = (value, revision, step.due)


async def submit(store: SqliteStore, step: Step, expected: Expected) -> int | None:
    if step.value is None:
        await store.delete(step.key, expected=expected)
        return None
    return await store.put(step.key, step.value, expected=expected, due=step.due)  # type: ignore[arg-type]


async def check(store: SqliteStore, model: Model) -> None:
    wanted = [Entry(key, *model.entries[key]) for key in sorted(model.entries)]
    assert await store.scan("") == wanted
    assert [await store.get(key) for key in sorted(model.entries)] == wanted
    due = sorted((e.due, e.key) for e in wanted if e.due is not None)
    found = await store.due(1.5)
    assert sorted(found) == sorted(key for at, key in due if at <= 1.5)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(steps, min_size=1, max_size=6), max_size=6))
def test_batches_behave_as_one_operation_after_another(batches: list[list[Step]]) -> None:
    """Every batch is one transaction; its operations keep their order and see each other."""

    async def run() -> None:
        model = Model()
        with tempfile.TemporaryDirectory() as directory:
            async with SqliteStore(Path(directory, "s.db")) as store:
                for batch in batches:
                    expectations = [model.expected(step) for step in batch]
                    results = await asyncio.gather(
                        *(submit(store, s, e) for s, e in zip(batch, expectations, strict=True)), return_exceptions=True
                    )
                    for step, expected, result in zip(batch, expectations, results, strict=True):
                        assert isinstance(result, RevisionConflict) is not model.accepts(step, expected), (step, result)
                        if not isinstance(result, BaseException):
                            model.apply(step, result or 0)
                    await check(store, model)

    asyncio.run(run())


async def test_revisions_are_not_reused_after_delete_and_restart(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        async with SqliteStore(tmp_path / "s.db") as store:
            seen.append(await store.put("k", b"x"))
            await asyncio.gather(store.put("gone", b"x"), store.delete("gone"))
            await store.delete("k")
    assert seen == sorted(set(seen))
    async with SqliteStore(tmp_path / "s.db") as store:
        with pytest.raises(RevisionConflict, match="found no entry"):
            await store.put("k", b"y", expected=seen[-1])


async def test_an_expired_entry_is_absent_in_every_way(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with SqliteStore(tmp_path / "s.db", clock=clock) as store:
        revision = await store.put("k", b"x", due=1.0, ttl=10)
        await clock.advance(9.5)
        assert await store.get("k") is not None
        await clock.advance(1)
        assert (await store.get("k"), await store.scan(""), await store.due(5.0)) == (None, [], [])
        with pytest.raises(RevisionConflict):
            await store.put("k", b"y", expected=revision)
        with pytest.raises(RevisionConflict):
            await store.put("k", KEEP)
        assert await store.put("k", b"z", expected=ABSENT) > revision


async def test_keep_and_value_of_one_key_in_one_batch(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        await store.put("k", b"old")
        await asyncio.gather(store.put("k", b"new"), store.put("k", KEEP, due=7.0))
        entry = await store.get("k")
        assert entry is not None and (entry.value, entry.due) == (b"new", 7.0)
        await asyncio.gather(store.put("k", KEEP, due=8.0), store.put("k", b"newer"))
        entry = await store.get("k")
        assert entry is not None and (entry.value, entry.due) == (b"newer", None)


async def test_writes_of_one_act_are_all_judged_before_any(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "s.db") as transport:
        store = transport.state_store()
        with pytest.raises(RevisionConflict) as caught:
            await transport.publish(writes=[Write("a", b"1"), Write("b", KEEP)])
        assert (caught.value.key, caught.value.found) == ("b", None)
        assert await store.scan("") == []
        await transport.publish(writes=[Write("a", b"1", ABSENT), Write("b", b"2", ABSENT)])
        assert [entry.value for entry in await store.scan("")] == [b"1", b"2"]


async def test_bad_input_is_refused_before_it_reaches_a_batch(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        for key in ("", "/", "a//b", "ä", "a b", "x" * 65, "a/\n"):
            for call in (store.get(key), store.put(key, b""), store.delete(key)):
                with pytest.raises(ConfigurationError):
                    await call
        with pytest.raises(ConfigurationError, match="bytes"):
            await store.put("k", "text")  # type: ignore[arg-type]
        for bad in ({"due": float("nan")}, {"ttl": float("nan")}):
            with pytest.raises(ConfigurationError, match="not a number"):
                await store.put("k", b"", **bad)
        with pytest.raises(MessageTooLarge):
            await store.put("k", bytes(store.capabilities.max_message + 1))  # type: ignore[operator]
        assert await store.scan("") == []


async def test_scan_treats_the_prefix_as_text(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        for key in ("a", "a/b", "a_b", "aXb", "b"):
            await store.put(key, b"")
        assert [e.key for e in await store.scan("a_")] == ["a_b"]
        assert [e.key for e in await store.scan("a%")] == []
        assert [e.key for e in await store.scan("a", after="a", limit=2)] == ["a/b", "aXb"]


async def test_watchers_share_one_query_and_miss_nothing(tmp_path: Path) -> None:
    """Many watchers, writes from another instance, deletes and returns; the last state always arrives."""
    async with SqliteStore(tmp_path / "s.db") as store, store.clone() as other:
        last: dict[str, bytes | None] = {}

        async def watch(key: str, end: bytes | None) -> None:
            async with contextlib.aclosing(store.watch(key)) as entries:
                async for entry in entries:
                    last[key] = entry.value if entry else None
                    if last[key] == end and len(started) == 40 and writing.is_set():
                        return

        writing = asyncio.Event()
        started = [f"k/{n}" for n in range(40)]
        ends = {key: (None if n % 4 == 0 else b"end") for n, key in enumerate(started)}
        for key in started:
            await store.put(key, b"start")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for key in started:
                group.create_task(watch(key, ends[key]))
            while len(last) < 40:
                await asyncio.sleep(0.001)
            writing.set()
            for key in started:
                await asyncio.gather(other.put(key, b"middle"), store.put(key + "-noise", b"x"))
                if ends[key] is None:
                    await other.delete(key)
                else:
                    await other.put(key, b"end")
        assert last == ends


async def test_a_watcher_hears_another_instance_without_polling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paigeant.builtin.sqlite.watches._POLL", 3600.0)
    async with (
        SqliteStore(tmp_path / "s.db") as store,
        store.clone() as other,
        contextlib.aclosing(store.watch("k")) as entries,
        asyncio.timeout(10),
    ):
        assert await anext(entries) is None
        for n in range(20):
            await other.put("k", b"%d" % n)
            entry = await anext(entries)
            assert entry is not None and entry.value == b"%d" % n
        await other.delete("k")
        assert await anext(entries) is None


async def test_watches_leave_nothing_behind(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        before = asyncio.all_tasks()
        for _ in range(3):
            async with contextlib.aclosing(store.watch("k")) as entries:
                await anext(entries)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before
