"""A backend that is closed under an activity is no fault of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from paigeant import ActivityContext, ActivitySpec, activity

from ..support import NO_RETRY, Bed


async def test_a_transport_closed_under_an_activity_costs_no_attempt(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @activity("charge", retry=NO_RETRY)
    async def charge(ctx: ActivityContext) -> str:
        begun.set()
        await go_on.wait()
        await ctx.register_compensation(number=1)
        return "charged"

    @charge.compensate
    def refund(number: int) -> None: ...

    async with Bed("sqlite", "shared", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("charge")])
        transport = bed.make_transport()
        await transport.connect()
        worker = Bed("sqlite", "shared", tmp_path)
        worker.transport = transport
        serving = asyncio.create_task(worker.worker(charge, grace=1.0).run())
        await begun.wait()
        await transport.disconnect()
        go_on.set()
        await asyncio.wait([serving])
        assert serving.exception() is not None
        async with bed.worker(charge):
            assert (await bed.outcome(workflow)).results == {"charge": "charged"}
