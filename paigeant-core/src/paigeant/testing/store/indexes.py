"""Expiry, scan, due times and watching."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from ...abc.store import StateStore
from ...errors import RevisionConflict
from ...model.store import KEEP, Entry
from ..kit import conformance
from ..rules import check, fail
from .rig import Rig, StoreCases, now

_TTL = 0.4


class Indexes(StoreCases):
    """S16, S18 to S20."""

    @conformance()
    async def test_S16_every_put_sets_due(self, rig: Rig) -> None:
        store = await rig.open()
        for due, keep in ((5.0, False), (None, False), (6.5, True), (None, True)):
            await store.put("a", KEEP if keep else b"one", due=due)
            entry = await store.get("a")
            check(entry and entry.due == due, "S16", f"put with due={due}: {entry}", "None removes the due time")
            listed = await store.due(10.0)
            check(due is None or listed == ["a"], "S16", f"put with due={due}: due lists {listed}", "index due times")

    @conformance("S12")
    async def test_S16_an_entry_lives_for_its_ttl_then_goes(self, rig: Rig) -> None:
        store = await rig.open()
        start = now()
        await store.put("a/1", b"one", due=1.0, ttl=_TTL)

        async def gone() -> bool:
            return await store.get("a/1") is None

        ended = await rig.until(gone)
        check(
            ended,
            "S16",
            f"ttl {_TTL} s, still there after {rig.patience:g} s",
            "treat it as absent; raise `patience` in the suite if the backend cleans up later",
        )
        check(now() - start >= _TTL, "S16", f"ttl {_TTL} s, gone after {now() - start:.3f} s", "round ttl up")
        check(await store.scan("a/") == [], "S16", "scan still shows it", "hide what has expired")
        revision = await store.put("a/1", b"two")
        check(revision > 0 and await store.get("a/1"), "S16", "it cannot be written again", "treat it as absent")

    @conformance()
    async def test_S16_every_put_sets_ttl(self, rig: Rig) -> None:
        store, ttl = await rig.open(), _TTL
        while not await _put_twice(store, ttl):
            ttl *= 4
        await store.put("witness", b"", ttl=ttl)

        async def witnessed() -> bool:
            return await store.get("witness") is None

        await rig.until(witnessed)
        missing = [key for key in ("put", "keep", "longer") if await store.get(key) is None]
        check(
            not missing, "S16", f"a second put lifted the ttl of {missing}, yet they are gone", "None removes the ttl"
        )

    @conformance()
    async def test_S18_scan_finds_by_prefix(self, rig: Rig) -> None:
        store = await rig.open()
        for key in ("b/1", "a/2", "a/10", "a/1/x", "ab/1", "a", "A/1", "a/-", "a_/1"):
            await store.put(key, key.encode(), due=1.0)
        wanted = {
            "a/": ["a/-", "a/1/x", "a/10", "a/2"],
            "a/1": ["a/1/x", "a/10"],
            "a": ["a", "a/-", "a/1/x", "a/10", "a/2", "a_/1", "ab/1"],
            "c/": [],
            "a/2": ["a/2"],
        }
        for prefix, keys in wanted.items():
            found = await store.scan(prefix)
            check(
                [entry.key for entry in found] == keys,
                "S18",
                f"scan({prefix!r}) gives {[entry.key for entry in found]}, not {keys}",
                "compare plain text, byte by byte; '_' and '%' mean nothing",
            )
            check(
                all((e.value, e.due) == (e.key.encode(), 1.0) and e.revision > 0 for e in found),
                "S18",
                f"scan({prefix!r}) gives {found}",
                "return complete entries",
            )

    @conformance()
    async def test_S18_scan_goes_on_where_it_stopped(self, rig: Rig) -> None:
        store = await rig.open()
        keys = sorted(f"a/{n}" for n in range(25))
        for key in keys:
            await store.put(key, b"")
        found: list[str] = []
        while page := await store.scan("a/", after=found[-1] if found else "", limit=10):
            check(len(page) <= 10, "S18", f"limit 10, got {len(page)}", "respect the limit")
            found += [entry.key for entry in page]
            if len(found) > len(keys):
                break
        check(found == keys, "S18", f"in pages of 10: {found}", "return keys greater than `after`, in order")

    @conformance()
    async def test_S19_due_lists_what_is_due(self, rig: Rig) -> None:
        store = await rig.open()
        for key, due in (("late", 300.0), ("b", 20.0), ("a", 10.0), ("never", None), ("edge", 100.0)):
            await store.put(key, b"", due=due)
        listed = await store.due(100.0)
        check(
            listed == ["a", "b", "edge"],
            "S19",
            f"due at 10, 20, 100 and 300, before 100: {listed}",
            "list keys with due <= before, the earliest first",
        )
        check(await store.due(100.0) == listed, "S19", "a second call lists something else", "reading removes nothing")
        first = await store.due(100.0, 1)
        check(first == ["a"], "S19", f"limit 1: {first}", "the earliest first, up to the limit")

    @conformance()
    async def test_S19_no_due_key_is_missing(self, rig: Rig) -> None:
        store = await rig.open()
        other = await rig.clone(store)
        for n in range(40):
            await store.put(f"k/{n}", b"", due=1000.0)
        for n in range(0, 40, 2):
            await other.put(f"k/{n}", KEEP, due=float(n))
        for n in range(0, 40, 4):
            await store.put(f"k/{n}", b"again", due=float(100 - n))
        for n in range(0, 40, 8):
            await store.delete(f"k/{n}")
            await store.put(f"k/{n}", b"anew", due=50.0)
        wanted = {f"k/{n}" for n in range(0, 40, 2)}
        missing = wanted - set(await other.due(500.0))
        check(
            not missing, "S19", f"after moving due times, {sorted(missing)} are missing", "update the index in the put"
        )

    @conformance()
    async def test_S20_watch_tells_the_entry_and_each_change(self, rig: Rig) -> None:
        store = await rig.open()
        other = await rig.clone(store)
        async with AsyncExitStack() as stack:
            watcher = _Watcher(rig, store, "a", stack)
            check(await watcher.sees(None), "S20", f"of a missing key: {watcher.seen}", "tell the entry as it is now")
            for number, writer in enumerate((store, other, store)):
                value = str(number).encode()
                await writer.put("a", value)
                check(
                    await watcher.sees(value),
                    "S20",
                    f"put {value!r}; the watcher saw {watcher.seen}",
                    "notify on every write of any instance, or poll",
                )
            await other.put("a", KEEP, due=3.0)
            check(await watcher.sees(b"2", due=3.0), "S20", f"KEEP; saw {watcher.seen}", "KEEP is a change, too")
            await other.delete("a")
            check(await watcher.sees(None), "S20", f"deleted; saw {watcher.seen}", "tell None after delete")
            late = _Watcher(rig, other, "a", stack)
            check(await late.sees(None), "S20", f"a second watcher saw {late.seen}", "tell each watcher by itself")
            await store.put("a", b"end")
            both = await watcher.sees(b"end") and await late.sees(b"end")
            check(both, "S20", f"two watchers saw {watcher.seen} and {late.seen}", "tell all watchers")

    @conformance("S02")
    async def test_S20_a_change_while_the_watcher_is_busy_is_seen(self, rig: Rig) -> None:
        store = await rig.open()
        changes = store.watch("a")
        try:
            check(await anext(changes) is None, "S20", "an entry nobody wrote", "tell the entry as it is now")
            for number in range(5):  # merged into one change, at will
                await store.put("a", str(number).encode())
            seen: Entry | None = None
            async with asyncio.timeout(rig.patience):
                while seen is None or seen.value != b"4":
                    seen = await anext(changes)
        except TimeoutError:
            fail("S20", "5 puts between two looks; the last was never told", "compare with what was told last")
        finally:
            await changes.aclose()

    @conformance("S02")
    async def test_S20_a_cancelled_watcher_leaves_nothing_behind(self, rig: Rig) -> None:
        store = await rig.open()
        for _ in range(3):
            async with AsyncExitStack() as stack:
                await _Watcher(rig, store, "a", stack).sees(None)
        await store.put("a", b"one")
        async with AsyncExitStack() as stack:
            watcher = _Watcher(rig, store, "a", stack)
            check(await watcher.sees(b"one"), "S20", f"after 3 closed watchers: {watcher.seen}", "clean up in finally")


class _Watcher:
    """A task that notes what a watch tells; cancelled when ``stack`` closes."""

    def __init__(self, rig: Rig, store: StateStore, key: str, stack: AsyncExitStack) -> None:
        self.seen: list[Entry | None] = []
        self._rig, self._changes = rig, store.watch(key)
        self._task = asyncio.create_task(self._note())
        stack.push_async_callback(self._end)

    async def sees(self, value: bytes | None, due: float | None = None) -> bool:
        """Whether the last thing told becomes this value."""

        async def told() -> bool:
            last = self.seen[-1] if self.seen else None
            return bool(self.seen) and (last and (last.value, last.due)) == (None if value is None else (value, due))

        return await self._rig.until(told)

    async def _note(self) -> None:
        async for entry in self._changes:
            self.seen.append(entry)

    async def _end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task], timeout=self._rig.patience)
        check(self._task.done(), "S02", "a cancelled watcher goes on", "let CancelledError through")


async def _put_twice(store: StateStore, ttl: float) -> bool:
    """Whether the second put came within the ``ttl`` of the first: that it did not is no fault of the store."""
    start = now()
    for key in ("put", "keep", "longer"):
        await store.put(key, b"one", ttl=ttl)
    try:
        await store.put("put", b"two")
        await store.put("keep", KEEP)
        await store.put("longer", KEEP, ttl=600)
    except RevisionConflict:
        if now() - start < ttl:
            raise
    return now() - start < ttl
