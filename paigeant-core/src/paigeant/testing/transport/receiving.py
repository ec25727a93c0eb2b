"""What consume and receive promise."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

from ...abc.transport import Delivery
from ...errors import BackendClosed, ConfigurationError
from ...model.message import Publication
from ..kit import conformance
from ..rules import check, refuses
from .rig import LONG, Rig, TransportCases, cancel, either, ids, now, publication

_SPIN = 0.15  # share of a core that counts as busy polling; on a crowded machine a busy loop gets no more

_ROUNDS = 30  # in turn or at random, a fair backend serves both within these: by bad luck it fails once in 2**28 runs
_LEAVINGS = 10  # a backend that is told too late does not always meet a message
_PUT_BACK: dict[str, Callable[[Delivery], Awaitable[None]]] = {
    "settled with a delayed successor": lambda delivery: delivery.settle(_fresh(delay=0.05)),
    "released with a delay": lambda delivery: delivery.release(0.05),
}


class Receiving(TransportCases):
    """T20 to T27."""

    @conformance()
    async def test_T20_a_message_has_one_consumer_at_a_time(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        await first.publish(*(publication(n) for n in range(20)))
        async with rig.receiving(first) as a, rig.receiving(second) as b:
            held: list[Delivery] = []
            while len(held) < 20 and (some := await a.get(3) + await b.get(3, within=rig.quiet)):
                held += some
            held += await a.get(within=rig.quiet) + await b.get(within=rig.quiet)
            check(
                len(held) == len(set(ids(held))) == 20,
                "T20",
                f"two consumers hold {len(held)} deliveries of {len(set(ids(held)))} messages, of 20",
                "lease a message atomically when it is received",
            )
            for delivery in held:
                await delivery.settle()

    @conformance(needs="renewable")
    async def test_T20_an_ended_lease_gives_the_message_to_another(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        start = now()
        await first.publish(publication())
        async with rig.receiving(first, lease=rig.lease) as a, rig.receiving(second, lease=rig.lease) as b:
            await a.one("T20")
            again = await b.one("T20")
            waited = now() - start
            await again.settle()
        check(
            waited >= rig.lease * 0.95,
            "T20",
            f"lease {rig.lease} s, received again after {waited:.3f} s",
            "lease for the full time from receipt; raise `lease` in the suite if the backend rounds it",
        )

    @conformance(needs="renewable")
    async def test_T20_an_ended_lease_wakes_a_consumer_that_came_before(self, rig: Rig) -> None:
        first = await rig.open()
        async with rig.receiving(first, lease=rig.lease) as a, rig.receiving(first, lease=rig.lease) as b:
            await b.silence("T20", "nothing was published", "deliver only what was published")
            await first.publish(publication())
            holder = await a.get(within=rig.quiet) or await b.get()
            check(ids(holder) == ["m-1"], "T11", f"received {ids(holder)}", "deliver what was published")
            again = await a.get(within=rig.lease * 4) or await b.get()
            check(
                ids(again) == ["m-1"],
                "T20",
                f"{rig.lease * 4:g} s later, nobody touching it: received {ids(again)}",
                "let waiting receivers wake at the end of the next lease",
            )

    @conformance(needs="counts_deliveries")
    async def test_T20_counts_deliveries(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication())
        counts: list[int | None] = []
        async with rig.receiving(transport) as receiver:
            for _ in range(3):
                delivery = await receiver.one("T64")
                counts.append(delivery.deliveries)
                await delivery.release()
        check(counts == [1, 2, 3], "T20", f"deliveries were {counts}", "declare counts_deliveries=False")

    @conformance()
    async def test_T21_the_lease_belongs_to_the_queue(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        async with rig.receiving(first, "work", lease=30.0):
            pass
        for transport in (first, second):
            with refuses(
                ConfigurationError, "T21", "consume with another lease", "store the lease with the queue and compare"
            ):
                async with rig.receiving(transport, "other", "work", lease=20.0):
                    pass
            async with rig.receiving(transport, "work", lease=30.0):
                pass
        async with rig.receiving(second, "fresh", lease=40.0):
            pass

    @conformance()
    async def test_T22_what_is_not_settled_is_not_lost(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n) for n in range(6)))
        async with rig.receiving(transport, lease=rig.lease) as receiver:
            held = await receiver.get(3)
            await held[0].settle()
        found = await rig.collect(await rig.clone(transport), want=5, lease=rig.lease)
        left = sorted({f"m-{n}" for n in range(6)} - {held[0].message.id})
        check(
            ids(found) == left,
            "T22",
            f"left a consumer holding {ids(held)} with {held[0].message.id!r} settled; then received {ids(found)}",
            "release at exit, or let the lease end; acknowledge nothing",
        )

    @conformance()
    async def test_T22_a_left_consumer_takes_nothing(self, rig: Rig) -> None:
        transport = await rig.open()
        other = await rig.clone(transport)
        for n in range(_LEAVINGS):
            async with transport.consume(["work"], lease=LONG) as consumer:
                task = asyncio.create_task(consumer.receive(1))
                await asyncio.sleep(rig.quiet / (5 if n == 0 else 50))
            await asyncio.wait([task], timeout=rig.patience)
            check(task.done(), "T22", "receive still waits after its context was left", "wake it with BackendClosed")
            with refuses(BackendClosed, "T22", "receive, its context left while it waits", "raise BackendClosed"):
                await task
            with refuses(BackendClosed, "T22", "receive after its context was left", "raise BackendClosed"):
                await consumer.receive(1)
            await other.publish(publication(n))
            async with rig.receiving(other) as receiver:
                found = await receiver.get(1)
                check(
                    ids(found) == [f"m-{n}"],
                    "T22",
                    f"published by another instance once the context was left, another received {ids(found)}",
                    "cancel what still fetches, and leave once the backend has confirmed that",
                )
                await found[0].settle()

    @conformance()
    async def test_T24_receive_takes_at_most_the_limit(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n) for n in range(10)))
        async with rig.receiving(transport) as receiver:
            some = await receiver.get(3)
            check(1 <= len(some) <= 3, "T24", f"limit 3, received {len(some)}", "pass the limit on to the backend")
            stats = (await transport.queues("work"))["work"]
            held = stats.in_flight
            check(
                held is None or held <= 3,
                "T24",
                f"{held} messages are leased for {len(some)} received",
                "do not prefetch beyond the limit: what waits in a buffer ages",
            )

    @conformance()
    async def test_T24_receive_does_not_wait_for_more(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication())
        async with rig.receiving(transport) as receiver:
            found = await receiver.get(100)
            check(
                ids(found) == ["m-1"],
                "T24",
                f"one message, limit 100: received {ids(found)} within {rig.patience:g} s",
                "return as soon as there is one",
            )

    @conformance()
    async def test_T25_no_queue_starves(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n, "busy") for n in range(30)), publication("rare", "rare"))
        for queues in (["busy", "rare"], ["rare", "busy"]):
            async with rig.receiving(transport, *queues) as receiver:
                seen: set[str] = set()
                for n in range(100):
                    delivery = await receiver.one("T11")
                    seen.add(delivery.queue)
                    await delivery.settle(publication(f"{queues[0]}-{n}", delivery.queue))  # stays as full as it was
                    if len(seen) == 2:
                        break
            check(
                len(seen) == 2,
                "T25",
                f"100 receives of 1 from {queues}, both never empty, came from {sorted(seen)} only",
                "start with another queue at each receive",
            )

    @conformance(needs="max_delay")
    async def test_T25_no_consumer_starves(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        for one, other in ((first, second), (second, first)):
            for how, put_back in _PUT_BACK.items():
                await one.publish(_fresh())
                async with rig.receiving(one) as giver, rig.receiving(other) as taker:
                    held, taken, rounds = [await giver.one("T11")], list[Delivery](), 0
                    while held and rounds < _ROUNDS:
                        await put_back(held[0])
                        rounds += 1
                        held, taken = await either(giver, taker)
                    check(
                        taken,
                        "T25",
                        f"what one consumer {how} {rounds} times, the other, which waited, was never given",
                        "serve those that wait in turn; if they poll, vary the pause",
                    )
                    await taken[0].settle()

    @conformance("T04")
    async def test_T26_a_cancelled_receive_leaves_nothing_leased(self, rig: Rig) -> None:
        transport = await rig.open()
        other = await rig.clone(transport)
        async with transport.consume(["work"], lease=LONG) as consumer:
            task = asyncio.create_task(consumer.receive(5))
            await asyncio.sleep(rig.quiet / 5)
            await cancel(task, rig.patience)
            await transport.publish(*(publication(n) for n in range(5)))
            found = await rig.collect(other, want=5)
            check(
                len(found) == 5,
                "T26",
                f"5 messages, published after a receive was cancelled; another consumer received {len(found)}",
                "release what a cancelled receive had asked for",
            )

    @conformance("T04")
    async def test_T26_cancelling_at_any_moment_loses_nothing(self, rig: Rig) -> None:
        transport = await rig.open()
        got: list[str] = []
        async with transport.consume(["work"], lease=LONG) as consumer:
            for n in range(30):
                task = asyncio.create_task(consumer.receive(5))
                sending = asyncio.create_task(transport.publish(publication(n)))
                await asyncio.sleep(0.0005 * n if n % 2 else 0)
                await cancel(task, rig.patience)
                await sending
                if not task.cancelled():
                    for delivery in task.result():
                        got.append(delivery.message.id)
                        await delivery.settle()
            got += ids(await rig.collect(await rig.clone(transport), want=30 - len(got)))
        check(
            sorted(got) == sorted(f"m-{n}" for n in range(30)),
            "T26",
            f"30 messages, 30 receives cancelled at various moments: {len(got)} received, {len(set(got))} different",
            "between taking messages and returning them, catch the cancellation and release them",
        )

    @conformance()
    async def test_T27_a_waiting_receiver_sees_what_others_publish(self, rig: Rig) -> None:
        transport = await rig.open()
        other = await rig.clone(transport)
        async with rig.receiving(transport) as receiver:
            await receiver.silence("T27", "nothing was published", "deliver only what was published")
            start = now()
            await other.publish(publication())
            await receiver.one("T27")
            waited = now() - start
        if waited > 1.0:
            self.note(f"T27: seen after {waited:.2f} s, more than 1 s")

    @conformance(real=True)
    async def test_T27_waiting_costs_no_processor_time(self, rig: Rig) -> None:
        transport = await rig.open()
        async with rig.receiving(transport) as receiver:
            await receiver.silence("T27", "nothing was published", "deliver only what was published")
            start, used = now(), time.process_time()
            await receiver.silence("T27", "nothing was published", "deliver only what was published", lasting=0.5)
            share = (time.process_time() - used) / (now() - start)
        check(
            share < _SPIN,
            "T27",
            f"an idle receive uses {share:.0%} of a core",
            "wait for a notification, or poll a few times a second",
        )


def _fresh(*, delay: float = 0.0) -> Publication:
    """A message that no backend takes for a repeat."""
    return publication(uuid.uuid4().hex, delay=delay)
