"""Statistics, peek, purge and the transport's own store."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from ...abc.store import StateStore
from ...errors import BackendClosed
from ...model.message import QueueStats
from ...model.store import Entry, Write
from ..kit import conformance, skip
from ..rules import check, refuses
from .rig import Rig, TransportCases, ids, listed, now, publication

_LATE = 1.5


class Inspecting(TransportCases):
    """T40 to T42, T50."""

    @conformance()
    async def test_T40_queues_counts(self, rig: Rig) -> None:
        transport = await rig.open()
        delayed = self.capabilities.max_delay is None
        await transport.publish(*(publication(n) for n in range(3)))
        if delayed:
            await transport.publish(publication("late", delay=600))
        async with rig.receiving(transport) as receiver:
            await receiver.one("T11")

            async def counted() -> bool:
                return _plausible((await transport.queues("work"))["work"], delayed)

            check(
                await rig.until(counted),
                "T40",
                f"2 ready, 1 leased{', 1 delayed' * delayed}, 1 consumer: {await transport.queues('work')}",
                "count each message once; return None where the backend cannot tell",
            )

    @conformance()
    async def test_T40_a_missing_queue_counts_zero(self, rig: Rig) -> None:
        transport = await rig.open()
        found = await transport.queues("none", "neither")
        check(set(found) == {"none", "neither"}, "T40", f"asked for two queues, got {found}", "one item per name")
        check(
            all(stats.ready == 0 and not stats.in_flight for stats in found.values()),
            "T40",
            f"queues that do not exist: {found}",
            "count zero, and create nothing",
        )

    @conformance()
    async def test_T40_without_names_lists_what_there_is(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1, "one"), publication(2, "two"))

        if await listed(transport) is None:
            return self.note("cannot list its queues, and says so")

        async def complete() -> bool:
            return {"one", "two"} <= set(await transport.queues())

        way_out = "list all queues, or raise ConfigurationError"
        return check(await rig.until(complete), "T40", f"of two queues, listed {await transport.queues()}", way_out)

    @conformance()
    async def test_T41_peek_leases_nothing(self, rig: Rig) -> None:
        transport = await rig.open()
        check(await transport.peek("none") == [], "T41", "a missing queue has messages", "return an empty list")
        for n in range(5):
            await transport.publish(publication(n))
        seen = [m.id for m in await transport.peek("work", 3)]
        check(seen == ["m-0", "m-1", "m-2"], "T41", f"of m-0 to m-4, limit 3: {seen}", "oldest first, up to the limit")
        everything = await transport.peek("work")
        check(len(everything) == 5, "T41", f"5 ready, peek shows {ids(everything)}", "show all that are ready")
        found = await rig.collect(transport, want=5)
        check(len(found) == 5, "T41", f"after peek, received {ids(found)}", "leave the messages ready")

    @conformance()
    async def test_T42_purge_deletes_ready_messages_only(self, rig: Rig) -> None:
        transport = await rig.open()
        delayed = self.capabilities.max_delay is None
        await transport.publish(*(publication(n) for n in range(4)), publication("other", "other"))
        start = now()
        if delayed:
            await transport.publish(publication("late", delay=_LATE))
        async with rig.receiving(transport) as receiver:
            held = await receiver.one("T11")
            purged = await transport.purge("work")
            if delayed and now() - start > _LATE * 0.9:
                skip(f"the machine stalled for {_LATE} s")
            check(purged == 3, "T42", f"3 ready, 1 leased: purged {purged}", "delete ready messages, and count them")
            await held.release()
            left = {(await receiver.one("T42")).message.id}
            if delayed:
                left.add((await receiver.one("T42")).message.id)
            wanted = {held.message.id, "m-late"} if delayed else {held.message.id}
            check(left == wanted, "T42", f"leased and delayed {wanted}, left {left}", "keep leased and delayed ones")
        found = await rig.collect(transport, "other", want=1)
        check(ids(found) == ["m-other"], "T42", "another queue was purged", "purge the named queue")
        check(await transport.purge("none") == 0, "T42", "a missing queue had messages", "return 0")

    @conformance("S01")
    async def test_T50_the_store_follows_its_transport(self, rig: Rig) -> None:
        transport = rig.make()
        await transport.connect()
        store = self._store_of(transport.state_store())
        await store.connect()
        await store.put("a/1", b"one")
        await store.disconnect()
        await transport.publish(publication(1))
        entry = await store.get("a/1")
        check(
            entry is not None and entry.value == b"one",
            "T50",
            f"after closing the store of a connected transport: {entry}",
            "let connect and disconnect of such a store do nothing",
        )
        await transport.disconnect()
        with refuses(BackendClosed, "S01", "get after the transport's disconnect", "share its connection"):
            await store.get("a/1")

    @conformance("T13")
    async def test_T50_the_store_is_what_writes_change(self, rig: Rig) -> None:
        transport = await rig.open()
        store = self._store_of(transport.state_store())
        check(
            store.namespace == transport.namespace, "T50", f"its namespace is {store.namespace!r}", "pass the namespace"
        )
        twin = (await rig.clone(transport)).state_store()
        await store.put("a/1", b"one")
        entry = None if twin is None else await twin.get("a/1")
        check(
            entry is not None and entry.value == b"one",
            "T50",
            f"the store of a clone has {entry}",
            "keep one set of entries per backend and namespace",
        )

    @conformance("S20", needs="atomic_writes")
    async def test_T50_watchers_see_writes_that_ride_along(self, rig: Rig) -> None:
        transport = await rig.open()
        other = await rig.clone(transport)
        async with aclosing(rig.store(other).watch("a/1")) as changes:
            check(await anext(changes) is None, "S20", "an entry nobody wrote", "tell the entry as it is now")
            told = asyncio.ensure_future(anext(changes))
            await transport.publish(publication(1), writes=[Write("a/1", b"published")])
            await self._sees(rig, told, b"published", "publish")
            told = asyncio.ensure_future(anext(changes))
            async with rig.receiving(transport) as receiver:
                await (await receiver.one("T11")).settle(writes=[Write("a/1", b"settled")])
            await self._sees(rig, told, b"settled", "settle")

    async def _sees(self, rig: Rig, told: asyncio.Future[Entry | None], value: bytes, how: str) -> None:
        await asyncio.wait([told], timeout=rig.patience)
        entry = told.result() if told.done() else None
        told.cancel()
        await asyncio.wait([told], timeout=rig.patience)
        check(
            entry is not None and entry.value == value,
            "S20",
            f"{how} wrote {value!r}; a watcher saw {entry}",
            "notify watchers of writes that ride along, as of any other",
        )

    def _store_of(self, store: StateStore | None) -> StateStore:
        if store is None:
            check(
                not self.capabilities.atomic_writes,
                "T50",
                "atomic_writes is declared and state_store() is None",
                "declare atomic_writes=False",
            )
            skip("state_store() is None")
        assert store is not None
        return store


def _plausible(stats: QueueStats, delayed: bool) -> bool:
    counts = (stats.in_flight, 1), (stats.delayed, int(delayed)), (stats.consumers, 1)
    return stats.ready == 2 and all(count in (None, wanted) for count, wanted in counts)
