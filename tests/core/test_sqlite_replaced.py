"""A file that is deleted or replaced under its users: who waits on it is told."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import BackendCorrupt


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_who_waits_notices_that_the_file_is_gone(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "q.db"
    async with SqliteTransport(path) as transport, transport.consume(["q"], lease=30) as consumer:
        waiting = asyncio.ensure_future(consumer.receive(1))
        await transport.queues("q")  # whoever asks after the receive is served after its first look
        assert not waiting.done()
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        if replaced:
            (tmp_path / "other").write_bytes(b"")
            (tmp_path / "other").rename(path)
        with pytest.raises(BackendCorrupt, match="deleted or replaced"):
            async with asyncio.timeout(5):
                await waiting
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
