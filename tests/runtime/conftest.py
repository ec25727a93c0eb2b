"""Beds for the tests: each transport in each mode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from ..support import KINDS, MODES, STORED, Bed, Kind, Mode

EVERY = [(kind, mode) for kind in KINDS for mode in MODES]
DURABLE = [(kind, mode) for kind in KINDS for mode in STORED]


def _id(value: tuple[Kind, Mode]) -> str:
    return "-".join(value)


async def _bed(request: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    kind, mode = cast("tuple[Kind, Mode]", request.param)
    if mode == "none":
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with Bed(kind, mode, directory) as bed:
        yield bed


@pytest.fixture(params=EVERY, ids=_id)
async def bed(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    """Each transport in each mode."""
    async for bed in _bed(request, tmp_path, monkeypatch):
        yield bed


@pytest.fixture(params=DURABLE, ids=_id)
async def stored(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    """Each transport, with a store of its own or another."""
    async for bed in _bed(request, tmp_path, monkeypatch):
        yield bed


@pytest.fixture(params=[("inmemory", "none"), ("sqlite", "none")], ids=_id)
async def storeless(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    """Each transport without a store."""
    async for bed in _bed(request, tmp_path, monkeypatch):
        yield bed


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Bed]:
    """The quickest bed, for what does not depend on the backend."""
    async with Bed("inmemory", "shared", tmp_path) as bed:
        yield bed
