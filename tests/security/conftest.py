"""The beds of the runtime's tests."""

from __future__ import annotations

from ..runtime.conftest import bed, memory, stored, storeless

__all__ = ["bed", "memory", "stored", "storeless"]
