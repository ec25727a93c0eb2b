"""Calls cancelled half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from ...errors import LeaseLost
from ..kit import conformance
from ..rules import check
from .rig import LONG, Rig, TransportCases, cancel, ids, publication

_ROUNDS = 12
_KEEP = "shield the part that must not be torn apart, and clean up before letting the cancellation through"


class Cancelling(TransportCases):
    """T04, for every call but receive, whose turn is T26."""

    @conformance()
    async def test_T04_cancelled_publish(self, rig: Rig) -> None:
        transport = await rig.open()
        ended = [await _cancelled(rig, transport.publish(publication(n)), n) for n in range(_ROUNDS)]
        done = [f"m-{n}" for n, finished in enumerate(ended) if finished]
        await transport.publish(publication("after"))
        found = ids(await rig.collect(transport, want=len(done) + 1))
        check("m-after" in found, "T04", f"a later publish was lost; received {found}", _KEEP)
        missing = sorted(set(done) - set(found))
        check(not missing, "T04", f"publishes that had returned were lost: {missing}", _KEEP)
        check(len(found) == len(set(found)), "T04", f"received twice: {found}", "do not repeat a cancelled publish")

    @conformance()
    async def test_T04_cancelled_settle(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n) for n in range(_ROUNDS)))
        settled: set[str] = set()
        async with rig.receiving(transport) as receiver:
            for n in range(_ROUNDS):
                delivery = await receiver.one("T04")
                await _cancelled(rig, delivery.settle(publication(delivery.message.id, "next")), n)
                with suppress(LeaseLost):  # then the cancelled one had taken effect
                    await delivery.settle(publication(delivery.message.id, "next"))
                settled.add(delivery.message.id)
            await receiver.silence("T04", "settled after a cancelled settle", _KEEP)
        found = {m.id.removeprefix("m-") for m in await rig.collect(transport, "next", want=_ROUNDS)}
        check(settled <= found, "T04", f"settled {sorted(settled)}, successors of {sorted(found)}", _KEEP)

    @conformance()
    async def test_T04_cancelled_release(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1))
        async with rig.receiving(transport, lease=rig.lease) as receiver:
            for n in range(_ROUNDS):
                delivery = await receiver.one("T04")
                await _cancelled(rig, delivery.release(), n)
                with suppress(LeaseLost):  # then the cancelled one had taken effect
                    await delivery.release()
            await (await receiver.one("T04")).settle()
            await receiver.silence("T04", "one message, released and cancelled", _KEEP)

    @conformance()
    async def test_T04_cancelled_connect(self, rig: Rig) -> None:
        for n in range(_ROUNDS):
            transport = rig.make()
            await _cancelled(rig, transport.connect(), n)
            await transport.connect()
            await transport.queues("work")
            await transport.disconnect()

    @conformance()
    async def test_T04_cancelled_while_waiting_in_consume(self, rig: Rig) -> None:
        transport = await rig.open()

        async def work() -> None:
            async with transport.consume(["work"], lease=LONG) as consumer:
                while True:
                    await consumer.receive(1)

        for n in range(_ROUNDS):
            await _cancelled(rig, work(), n)
        await transport.publish(publication(1))
        found = await rig.collect(transport, want=1)
        check(ids(found) == ["m-1"], "T04", f"{_ROUNDS} consumers were cancelled; then received {ids(found)}", _KEEP)


async def _cancelled(rig: Rig, call: Coroutine[Any, Any, None], turns: int) -> bool:
    """Cancel ``call`` after some turns of the loop; whether it had returned by then."""
    task = asyncio.create_task(call)
    for _ in range(turns):
        await asyncio.sleep(0 if turns % 2 else 0.0002)
    await cancel(task, rig.patience)
    if task.cancelled():
        return False
    check(task.exception() is None, "T04", f"a cancelled call raised {task.exception()!r}", "raise CancelledError")
    return True
