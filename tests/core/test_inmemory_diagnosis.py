"""What the in-memory transport and store say of themselves to ``paigeant doctor``."""

from __future__ import annotations

import pytest

from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendClosed
from paigeant.model.finding import Severity


@pytest.mark.parametrize("kind", [InMemoryTransport, InMemoryStore])
async def test_nothing_survives(kind: type[InMemoryTransport] | type[InMemoryStore]) -> None:
    backend = kind()
    async with backend:
        (found,) = await backend.diagnose()
    assert (found.severity, found.subject) == (Severity.WARNING, "durability")
    assert "nothing survives" in found.message
    assert "PAIGEANT_TRANSPORT=sqlite" in found.remedy
    with pytest.raises(BackendClosed):
        await backend.diagnose()
