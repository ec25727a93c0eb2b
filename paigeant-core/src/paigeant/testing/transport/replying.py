"""Queues that serve one process: a backend may drop them, but never too early."""

from __future__ import annotations

from ..kit import conformance
from ..rules import check
from .rig import LONG, Receiver, Rig, TransportCases, ids, publication


class Replying(TransportCases):
    """T28."""

    @conformance()
    async def test_T28_a_consumed_queue_stays(self, rig: Rig) -> None:
        transport = await rig.open()
        other = await rig.clone(transport)
        async with transport.consume(["reply"], lease=rig.lease, expires=rig.lease) as consumer:
            receiver = Receiver(consumer, rig.patience, rig.quiet)
            try:
                await receiver.silence(
                    "T28", "nothing was published", "deliver only what was published", lasting=rig.lease * 2
                )
                await other.publish(publication(1, "reply"))
                found = await receiver.get()
                check(
                    ids(found) == ["m-1"],
                    "T28",
                    f"consumed from for {rig.lease * 2:g} s with expires={rig.lease:g}: then received {ids(found)}",
                    "count the time without a consumer only",
                )
                await found[0].settle()
            finally:
                await receiver.close()

    @conformance()
    async def test_T28_a_left_queue_stays_for_its_time(self, rig: Rig) -> None:
        transport = await rig.open()
        async with transport.consume(["reply"], lease=LONG, expires=LONG):
            pass
        await transport.publish(publication(1, "reply"))
        async with transport.consume(["reply"], lease=LONG, expires=LONG) as consumer:
            receiver = Receiver(consumer, rig.patience, rig.quiet)
            try:
                found = await receiver.get()
                check(
                    ids(found) == ["m-1"],
                    "T28",
                    f"left, with expires={LONG:g}, and consumed from again at once: received {ids(found)}",
                    "drop the queue when it had no consumer for that long, not when its consumer leaves",
                )
                await found[0].settle()
            finally:
                await receiver.close()
