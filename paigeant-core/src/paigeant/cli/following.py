"""Waits for the end of a workflow, as a person would: not for what only a person can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from ..abc import SystemClock
from ..errors import BackendError, ResultTimeout, WorkflowError
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
    :raises ResultTimeout: it has not ended within ``timeout`` seconds; the text says where it stands.
    :raises WorkflowError: it is parked.
    :raises WorkflowNotFound: no such workflow.
    :raises BackendError: it can no longer be watched; it goes on.
    :raises StoreRequired: without a state store nobody can ask.
    """
    try:
        async with asyncio.timeout(timeout):
            async for status in _changes(client, correlation_id):
                await tell(status)
            return await client.outcome(correlation_id)
    except TimeoutError:
        raise ResultTimeout(
            f"workflow {correlation_id!r} has not ended within {round(timeout or 0, 2):g} s; "
            f"{await _standing(client, correlation_id)}; its outcome: `paigeant workflows result {correlation_id}`"
        ) from None
    except (asyncio.CancelledError, BackendError):
        say(f"the workflow goes on: paigeant workflows result {correlation_id}")
        raise


async def _standing(client: WorkflowClient, correlation_id: str) -> str:
    """Asked anew: a worker that came or went is no change that is watched."""
    from ..runtime.standing import last_look, standing

    status = await last_look(client.status(correlation_id), SystemClock())
    return standing(correlation_id, status, scope=client.transport.scope, stored=True)


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
