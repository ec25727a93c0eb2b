"""What settle and release promise."""

from __future__ import annotations

import asyncio

from ...errors import ConfigurationError, LeaseLost, MessageTooLarge, RevisionConflict
from ...model.message import Message, Publication
from ...model.store import ABSENT, KEEP, Write
from ..kit import conformance, skip
from ..rules import check, refuses
from .rig import Rig, TransportCases, ids, now, publication

_DELAY = 0.5
_FENCE = "compare the lease token in the act that acknowledges"


class Settling(TransportCases):
    """T60 to T65."""

    @conformance()
    async def test_T60_settle_publishes_and_acknowledges(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport) as receiver:
            await (await receiver.one("T11")).settle(publication(2, "next"), publication(3, "last"))
            await receiver.silence("T61", "settled", "acknowledge in settle()")
        for number, queue in ((2, "next"), (3, "last")):
            found = await rig.collect(transport, queue, want=1)
            check(
                ids(found) == [f"m-{number}"],
                "T60",
                f"successor m-{number}: received {ids(found)}",
                "publish every successor in settle()",
            )

    @conformance()
    async def test_T60_a_failed_settle_does_not_acknowledge(self, rig: Rig) -> None:
        if (bad := self._refused()) is None:
            skip("no publication of this backend is refused")
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport, lease=rig.lease) as receiver:
            delivery = await receiver.one("T11")
            with refuses(
                (MessageTooLarge, ConfigurationError)[bad.delay > 0], "T63", "settle", "check as publish does"
            ):
                await delivery.settle(publication(2, "next"), bad)
        found = await rig.collect(transport, want=1, lease=rig.lease)
        check(ids(found) == ["m-1"], "T60", f"settle raised; received {ids(found)}", "acknowledge last")

    @conformance(needs="atomic_settle")
    async def test_T60_a_stale_settle_changes_nothing(self, rig: Rig) -> None:
        if not rig.capabilities.renewable:
            skip("not declared: renewable")
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport, lease=rig.lease) as a, rig.receiving(transport, lease=rig.lease) as b:
            stale = await a.one("T11")
            current = await b.one("T20")
            with refuses(LeaseLost, "T60", "settle after the lease ended and another received it", _FENCE):
                await stale.settle(publication(2, "next"))
            await current.settle(publication(3, "next"))
        found = await rig.collect(transport, "next", want=1)
        check(
            ids(found) == ["m-3"],
            "T60",
            f"the stale owner settles with m-2, the new one with m-3: received {ids(found)}",
            "check ownership and publish in one act; otherwise declare atomic_settle=False",
        )

    @conformance()
    async def test_T61_a_settled_message_never_comes_back(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n) for n in range(3)))
        async with rig.receiving(transport, lease=rig.lease) as receiver:
            for _ in range(3):
                await (await receiver.one("T11")).settle()
            await receiver.silence("T61", "settled", "acknowledge in settle()", lasting=rig.lease * 1.5)
        async with rig.receiving(await rig.clone(transport), lease=rig.lease) as receiver:
            await receiver.silence("T61", "settled, and its consumer left", "acknowledge in settle()")

    @conformance()
    async def test_T61_settling_twice_is_refused(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport) as receiver:
            delivery = await receiver.one("T11")
            await delivery.settle()
            with refuses(LeaseLost, "T61", "a second settle", "remember in the delivery that it is settled"):
                await delivery.settle(publication(2, "next"))
        found = await rig.collect(transport, "next", want=0)
        check(found == [], "T61", f"the second settle published {ids(found)}", "refuse before publishing")

    @conformance("T13", needs="atomic_writes")
    async def test_T62_settle_is_all_or_nothing(self, rig: Rig) -> None:
        transport = await rig.open()
        store = rig.store(transport)
        revision = await store.put("a/1", b"one")
        await transport.publish(publication(1))
        async with rig.receiving(transport) as receiver:
            delivery = await receiver.one("T11")
            for write in (Write("a/1", b"x", revision + 1), Write("a/1", b"x", ABSENT), Write("a/3", KEEP)):
                with refuses(RevisionConflict, "T62", f"settle with {write}", "check expected in settle()"):
                    await delivery.settle(publication(2, "next"), writes=[Write("a/2", b"two"), write])
            values = {entry.key: entry.value for entry in await store.scan("a/")}
            check(values == {"a/1": b"one"}, "T62", f"after conflicts: {values}", "check all, then write, in one act")
            lost = await transport.renew([delivery.lease_token])
            check(not lost, "T62", "a conflict cost the lease", "keep the delivery owned after RevisionConflict")
            await delivery.settle(publication(3, "next"), writes=[Write("a/1", b"new", revision), Write("a/2", b"two")])
            await receiver.silence("T61", "settled", "acknowledge in settle()")
        values = {entry.key: entry.value for entry in await store.scan("a/")}
        check(values == {"a/1": b"new", "a/2": b"two"}, "T62", f"after success: {values}", "perform every write")
        found = await rig.collect(transport, "next", want=1)
        check(ids(found) == ["m-3"], "T62", f"received {ids(found)}", "publish only if every write may take place")

    @conformance(needs="atomic_writes")
    async def test_T62_a_lost_lease_writes_nothing(self, rig: Rig) -> None:
        transport = await rig.open()
        store = rig.store(transport)
        await transport.publish(publication(1))
        async with rig.receiving(transport) as receiver:
            stale = await receiver.one("T11")
            await stale.release()
            current = await receiver.one("T64")
            with refuses(LeaseLost, "T62", "settle with a write after release", _FENCE):
                await stale.settle(publication(2, "next"), writes=[Write("a/1", b"stale")])
            entry = await store.get("a/1")
            check(entry is None, "T62", f"the stale owner wrote {entry}", "check ownership first, in the same act")
            await current.settle()
        found = await rig.collect(transport, "next", want=0)
        check(found == [], "T62", f"the stale owner published {ids(found)}", "check ownership first, in the same act")

    @conformance(needs="atomic_writes")
    async def test_T62_of_rival_settles_one_wins(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        store = rig.store(first)
        revision = await store.put("a/1", b"start")
        await first.publish(*(publication(n) for n in range(10)))
        async with rig.receiving(first) as a, rig.receiving(second) as b:
            held = await a.get(5)
            while len(held) < 10 and (some := await b.get(5)):
                held += some
            write = [Write("a/1", b"won", revision)]
            acts = [d.settle(publication(d.message.id, "next"), writes=write) for d in held]
            ends = await asyncio.gather(*acts, return_exceptions=True)
            wrong = [end for end in ends if end is not None and not isinstance(end, RevisionConflict)]
            check(not wrong, "T62", f"rival settles raised {wrong}", "raise RevisionConflict for each that is late")
            check(ends.count(None) == 1, "T62", f"{ends.count(None)} of 10 rivals won", "compare and set in one act")
        found = await rig.collect(first, "next", want=1)
        check(len(found) == 1, "T62", f"one settle won, {len(found)} successors were published", "publish in that act")

    @conformance(needs="max_delay")
    async def test_T63_successors_may_be_delayed(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport) as receiver:
            delivery = await receiver.one("T11")
            start = now()
            await delivery.settle(publication(1, delay=_DELAY))  # a retry
            again = await receiver.one("T63")
            waited = now() - start
            await again.settle()
        check(waited >= _DELAY * 0.98, "T63", f"delay {_DELAY} s, received after {waited:.3f} s", "as in publish()")

    @conformance()
    async def test_T64_release_redelivers_unchanged(self, rig: Rig) -> None:
        transport = await rig.open()
        sent = Message("m-1", b"\x00body", {"key": "value"})
        await transport.publish(Publication("work", sent))
        async with rig.receiving(transport) as receiver:
            await (await receiver.one("T11")).release()
            again = await receiver.one("T64")
            seen = Message(again.message.id, again.message.body, dict(again.message.headers))
            await again.settle()
            check(seen == sent, "T64", f"released {sent}, received {seen}", "put back what was received")
            await receiver.silence("T64", "settled after a release", "release one copy only")

    @conformance(needs="max_delay")
    async def test_T64_release_redelivers_after_delay(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport) as receiver:
            delivery = await receiver.one("T11")
            start = now()
            await delivery.release(_DELAY)
            again = await receiver.one("T64")
            waited = now() - start
            await again.settle()
        check(
            waited >= _DELAY * 0.98,
            "T64",
            f"released for {_DELAY} s, received after {waited:.3f} s",
            "hold it back as a delayed message; a backend that cannot declares max_delay=0",
        )

    @conformance()
    async def test_T65_what_is_not_owned_cannot_be_released(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport) as receiver:
            first = await receiver.one("T11")
            await first.release()
            with refuses(LeaseLost, "T65", "a second release", "remember in the delivery that it is released"):
                await first.release()
            second = await receiver.one("T64")
            await second.settle()
            with refuses(LeaseLost, "T65", "release after settle", "remember in the delivery that it is settled"):
                await second.release()
            await receiver.silence("T65", "settled", "refuse before putting it back")

    @conformance(needs="renewable")
    async def test_T65_a_lost_lease_cannot_be_released(self, rig: Rig) -> None:
        if not rig.capabilities.atomic_settle:
            skip("not declared: atomic_settle")
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport, lease=rig.lease) as a, rig.receiving(transport, lease=rig.lease) as b:
            stale = await a.one("T11")
            current = await b.one("T20")
            with refuses(LeaseLost, "T65", "release after the lease ended and another received it", _FENCE):
                await stale.release()
            await current.settle()
            await a.silence("T65", "settled by its owner", "refuse before putting it back")

    def _refused(self) -> Publication | None:
        """A publication over a limit of this backend, if it has one."""
        size, delay = self.capabilities.max_message, self.capabilities.max_delay
        if size is not None:
            return Publication("next", Message("large", bytes(size + 1)))
        return None if delay is None else publication("late", "next", delay=delay + 1)
