"""What the tests of the planner have in common: an own transport, and no network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic_ai import models

from paigeant import PlannerAgentDeps, WorkflowDispatcher, get_transport
from paigeant.abc import Transport


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", False)


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[Transport]:
    async with get_transport(f"inmemory://{tmp_path.name}") as made:
        yield made
        for queue in await made.queues():
            await made.purge(queue)


@pytest.fixture
async def deps(transport: Transport) -> AsyncIterator[PlannerAgentDeps]:
    async with WorkflowDispatcher(transport) as dispatcher:
        yield PlannerAgentDeps(workflow_dispatcher=dispatcher)
