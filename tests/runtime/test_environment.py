"""Which stores go with which transports."""

from __future__ import annotations

from pathlib import Path

import pytest

from paigeant import ConfigurationError, WorkflowClient
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.sqlite.transport import SqliteTransport


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
