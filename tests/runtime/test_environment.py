"""Which stores and keys go with which transports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paigeant import ConfigurationError, WorkflowClient
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.envelope.security import Security


@pytest.mark.parametrize("given", [True, False])
async def test_a_store_that_dies_with_its_process_does_not_go_with_messages_that_live_on(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not given:
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "inmemory")
    store = InMemoryStore() if given else None
    with pytest.raises(ConfigurationError, match=r"one process.*; use the transport's own store"):
        async with WorkflowClient(SqliteTransport(tmp_path / "queues.db"), state_store=store):
            pass


@pytest.mark.parametrize(
    "part",
    [
        {"state_store": InMemoryStore("inmemory://state", namespace="staging")},
        {"security": Security.insecure("staging")},
    ],
    ids=lambda part: next(iter(part)),
)
def test_parts_of_another_namespace_are_refused(part: dict[str, Any]) -> None:
    transport = InMemoryTransport("inmemory://prod", namespace="prod")
    with pytest.raises(ConfigurationError, match=r"'staging'.*'prod'; give both the same namespace"):
        WorkflowClient(transport, **part)
