"""Activities, and a worker of this process that serves them for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from paigeant import (
    Activity,
    ActivityContext,
    ActivitySpec,
    PermanentFault,
    RetryPolicy,
    Worker,
    WorkflowDispatcher,
    activity,
    get_transport,
)
from paigeant.abc import Transport

EVIL = "\x1b]0;owned\x07\u202e"


@activity("double")
async def double(n: int) -> dict[str, list[int]]:
    return {"values": [n * 2]}


@activity("undoable")
async def undoable(ctx: ActivityContext) -> str:
    await ctx.register_compensation(what="it")
    return EVIL


@undoable.compensate
async def undo(what: str) -> None: ...


@activity("fail", retry=RetryPolicy(attempts=1))
async def fail() -> None:
    raise PermanentFault(f"no {EVIL}")


ALL = [double, undoable, fail]


def served(work: Callable[[Transport], Coroutine[Any, Any, Any]] | None = None, *others: Activity[..., Any]) -> Any:
    """Run a worker of this process, of ``others`` in place of all, until what was dispatched has ended (or ``work``
    returns)."""

    async def main() -> Any:
        async with get_transport() as transport, Worker(transport, others or ALL):
            return await (work or _idle)(transport)

    return asyncio.run(main())


async def _idle(transport: Transport) -> None:
    while any(stats.ready or stats.in_flight for name, stats in (await transport.queues()).items() if "." not in name):
        await asyncio.sleep(0.01)


def dispatched(*specs: ActivitySpec, **options: Any) -> str:
    async def main() -> str:
        async with get_transport() as transport, WorkflowDispatcher(transport) as dispatcher:
            return await dispatcher.dispatch_workflow(specs, **options)

    return asyncio.run(main())
