"""Waits for the end of a workflow, as a person would: not for what only a person can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from ..errors import ResultTimeout, WorkflowError
from .output import say

if TYPE_CHECKING:
    from ..runtime.client import WorkflowClient
    from ..runtime.outcome import Outcome, WorkflowStatus


async def _silent(status: WorkflowStatus) -> None: ...


async def ended(
    client: WorkflowClient,
    correlation_id: str,
    timeout: float | None,
    tell: Callable[[WorkflowStatus], Awaitable[None]] = _silent,
) -> Outcome:
    """Wait for the end.

    :param tell: told the status now and after each change.
    :raises ResultTimeout: it has not ended within ``timeout`` seconds.
    :raises WorkflowError: it is parked.
    :raises WorkflowNotFound: no such workflow.
    :raises StoreRequired: without a state store nobody can ask.
    """
    try:
        async with asyncio.timeout(timeout):
            async for status in _changes(client, correlation_id):
                await tell(status)
            return await client.outcome(correlation_id)
    except TimeoutError:
        raise ResultTimeout(
            f"workflow {correlation_id!r} has not ended within {timeout:.3g} s; it goes on: "
            f"paigeant workflows result {correlation_id}"
        ) from None
    except asyncio.CancelledError:
        say(f"the workflow goes on: paigeant workflows result {correlation_id}")
        raise


async def _changes(client: WorkflowClient, correlation_id: str) -> AsyncGenerator[WorkflowStatus, None]:
    """Until it has ended. A parked workflow waits for a person, so waiting for it here would have no end."""
    async with aclosing(cast("AsyncGenerator[WorkflowStatus, None]", client.watch(correlation_id))) as changes:
        async for status in changes:
            yield status
            if status.state == "parked":
                raise WorkflowError(
                    f"workflow {correlation_id!r} is parked ({status.parked}); put it back to work with: "
                    f"paigeant workflows resume {correlation_id}"
                )
