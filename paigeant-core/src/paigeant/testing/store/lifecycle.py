"""Connecting, closing, names, errors, time and durability of stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

from ...abc.store import StateStore
from ...errors import BackendClosed, BackendError, ConfigurationError, RevisionConflict
from ..kit import conformance, skip
from ..rules import check, fail, refuses
from .rig import Rig, StoreCases, now

_ROUNDS = 12
_GUARD = "check at the start of each method that the instance is connected"
_BAD_KEYS = ["", "/", "a/", "/a", "a//b", "a.b", "a b", "a*", "a/ü", "a\n", "x" * 65, "a/" + "x" * 65, "a\x00", "../a"]
_GOOD_KEYS = ["a", "A", "a-b_C9", "-", "_", "x" * 64, "/".join(["y" * 64] * 4), "a/b/c/d/e/f"]


async def _first(store: StateStore) -> None:
    async with aclosing(store.watch("a")) as changes:
        await anext(changes)


_CALLS: dict[str, Callable[[StateStore], Awaitable[object]]] = {
    "now": lambda s: s.now(),
    "get": lambda s: s.get("a"),
    "put": lambda s: s.put("a", b""),
    "delete": lambda s: s.delete("a"),
    "scan": lambda s: s.scan("a"),
    "due": lambda s: s.due(0.0),
    "watch": _first,
}


class Lifecycle(StoreCases):
    """S01 to S03, S10, S12."""

    def make_unreachable(self, tmp_path: Path) -> StateStore | None:
        """Optional: an instance whose backend cannot be reached; ``None`` where there is no such thing."""
        return None

    @conformance()
    async def test_S01_connect_and_disconnect_are_idempotent(self, rig: Rig) -> None:
        store = rig.make()
        await store.disconnect()
        await store.connect()
        await store.connect()
        await store.put("a", b"one")
        await store.disconnect()
        await store.disconnect()
        await store.connect()
        await store.put("a", b"two")
        entry = await store.get("a")
        check(entry and entry.value == b"two", "S01", f"reconnected, then read {entry}", "build all in connect()")

    @conformance()
    async def test_S01_one_disconnect_undoes_two_connects(self, rig: Rig) -> None:
        store = rig.make()
        await store.connect()
        await store.connect()
        await store.disconnect()
        with refuses(BackendClosed, "S01", "get after connect, connect, disconnect", "do not count connects"):
            await store.get("a")

    @conformance()
    async def test_S01_closed_before_connect_and_after_disconnect(self, rig: Rig) -> None:
        store = rig.make()
        for name, call in _CALLS.items():
            with refuses(BackendClosed, "S01", f"{name} before connect", _GUARD):
                await call(store)
        async with store as entered:
            check(entered is store, "S01", f"'async with' gave {entered!r}", "return self from __aenter__")
            await store.put("a", b"one")
        for name, call in _CALLS.items():
            with refuses(BackendClosed, "S01", f"{name} after 'async with'", _GUARD):
                await call(store)

    @conformance()
    async def test_S02_an_unreachable_backend_is_a_backend_error(self, rig: Rig) -> None:
        store = self.make_unreachable(rig.tmp_path)
        if store is None:
            skip("make_unreachable() returns None: this backend cannot be out of reach")
        try:
            await store.connect()
        except (BackendError, ConfigurationError) as exc:
            check(exc.__cause__, "S02", f"{exc!r} has no cause", "map errors with 'raise ... from exc'")
        except Exception as exc:
            fail("S02", f"connect raised {exc!r}", "map the client library's errors in one function")
        else:
            await store.disconnect()
            fail("S02", "connect succeeded", "return an unreachable instance, or None, from make_unreachable()")

    @conformance()
    async def test_S02_a_cancelled_put_is_done_or_not(self, rig: Rig) -> None:
        store = await rig.open()
        await store.put("a", b"start")
        for turn in range(_ROUNDS):
            before = await store.get("a")
            assert before is not None
            value = f"{turn}".encode()
            await _cancelled(rig, store.put("a", value, expected=before.revision, due=float(turn)), turn)
            after = await store.get("a")
            check(
                after == before or (after is not None and (after.value, after.due) == (value, float(turn))),
                "S02",
                f"before {before}, after a cancelled put of {value!r}: {after}",
                "write value, revision and due in one act",
            )
            await store.put("a", b"again")  # one that takes effect late must not undo this
            last = await store.get("a")
            check(
                last and last.value == b"again",
                "S02",
                f"a put cancelled before undid a later one: {last}",
                "check `expected` when the write takes effect",
            )

    @conformance()
    async def test_S03_keys_have_a_grammar(self, rig: Rig) -> None:
        store = await rig.open()
        way_out = "call paigeant.model.store.check_key"
        for key in _BAD_KEYS:
            with refuses(ConfigurationError, "S03", f"get {key!r}", way_out):
                await store.get(key)
            with refuses(ConfigurationError, "S03", f"put {key!r}", way_out):
                await store.put(key, b"")
            with refuses(ConfigurationError, "S03", f"delete {key!r}", way_out):
                await store.delete(key)
        for key in _GOOD_KEYS:
            await store.put(key, key.encode())
        for key in _GOOD_KEYS:
            entry = await store.get(key)
            check(
                entry and (entry.key, entry.value) == (key, key.encode()),
                "S03",
                f"put under {key!r}, got {entry}",
                "keep keys apart, upper case from lower case, too",
            )

    @conformance()
    async def test_S03_namespaces_do_not_meet(self, rig: Rig) -> None:
        first = await rig.open()
        self.namespace += "-b"
        second = await rig.open()
        await first.put("a/1", b"one", due=1.0)
        seen = [await second.get("a/1"), *await second.scan("a/"), *await second.due(2.0)]
        check(seen == [None], "S03", f"another namespace sees {seen}", "put the namespace into every key")
        await second.delete("a/1")
        check(await first.get("a/1"), "S03", "another namespace deleted the entry", "put the namespace into every key")

    @conformance()
    async def test_S10_the_clock_is_one_and_goes_on(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        before, told, after = now(), await first.now(), now()
        check(isinstance(told, float), "S10", f"now() is {told!r}", "return seconds since the epoch as a float")
        apart = abs(await second.now() - told)
        check(apart < 2.0, "S10", f"two instances are {apart:.1f} s apart", "ask the backend, and cache the offset")
        await asyncio.sleep(0.2)
        least, counted, most = now() - after, await first.now() - told, now() - before
        check(
            least - 0.05 <= counted <= most + 0.05,
            "S10",
            f"{least:.2f} to {most:.2f} s passed, the store counted {counted:.2f} s",
            "seconds since the epoch that go on by themselves",
        )

    @conformance(needs="durable")
    async def test_S12_entries_outlive_all_instances(self, rig: Rig) -> None:
        store = await rig.open()
        revision = await store.put("a", b"one", due=5.0)
        await store.disconnect()
        entry = await (await rig.open()).get("a")
        check(
            entry and (entry.value, entry.revision, entry.due) == (b"one", revision, 5.0),
            "S12",
            f"put, closed, opened again: {entry}",
            "declare durable=False if nothing is kept",
        )

    @conformance()
    async def test_S12_values_come_back_as_they_were(self, rig: Rig) -> None:
        store = await rig.open()
        for value in (b"", b" \n\tedges\x00 ", bytes(range(256)), bytes(100 * 1024)):
            await store.put("a", value)
            entry = await store.get("a")
            check(
                entry is not None and entry.value == value and type(entry.value) is bytes,
                "S12",
                f"put {len(value)} bytes, got {entry and (type(entry.value), len(entry.value))}",
                "store bytes as bytes",
            )


async def _cancelled(rig: Rig, call: Coroutine[Any, Any, Any], turns: int) -> None:
    task = asyncio.create_task(call)
    for _ in range(turns):
        await asyncio.sleep(0 if turns % 2 else 0.0002)
    task.cancel()
    await asyncio.wait([task], timeout=rig.patience)
    check(task.done(), "S02", f"a cancelled put did not end within {rig.patience:g} s", "let CancelledError through")
    if not task.cancelled():
        failure = task.exception()
        check(
            failure is None or isinstance(failure, RevisionConflict),
            "S02",
            f"a cancelled put raised {failure!r}",
            "raise CancelledError, or finish",
        )
