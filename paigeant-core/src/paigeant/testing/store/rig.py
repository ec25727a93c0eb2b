"""What the store tests work with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from ...abc.store import StateStore
from ..kit import Suite
from ..rules import check


class Rig:
    """Instances of the store under test on the same data; closed at the end of the test."""

    def __init__(self, suite: StoreCases, tmp_path: Path, stack: AsyncExitStack) -> None:
        self._suite, self.tmp_path, self._stack = suite, tmp_path, stack
        self.patience, self.quiet = suite.patience, suite.quiet

    def make(self) -> StateStore:
        """A new instance from the author's ``make``, not connected; disconnected at the end."""
        store = self._suite.make(self.tmp_path)
        check(
            store.namespace == self._suite.namespace,
            "S03",
            f"make() returned an instance with namespace {store.namespace!r}",
            "build it with namespace=self.namespace: every test has one of its own",
        )
        self._stack.push_async_callback(store.disconnect)
        return store

    async def open(self) -> StateStore:
        """A new connected instance from ``make``."""
        store = self.make()
        await store.connect()
        return store

    async def clone(self, store: StateStore) -> StateStore:
        """A second connected instance on the same data."""
        clone = store.clone()
        self._stack.push_async_callback(clone.disconnect)
        await clone.connect()
        return clone

    async def until(self, holds: Callable[[], Awaitable[bool]], within: float | None = None) -> bool:
        """Whether ``holds`` becomes true before patience (or ``within`` seconds) runs out."""
        try:
            async with asyncio.timeout(within or self.patience):
                while not await holds():  # noqa: ASYNC110 - backends have no event for everything
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False
        return True


class StoreCases(Suite):
    """Base of the groups of store tests."""

    def make(self, tmp_path: Path) -> StateStore:
        """A new instance, not connected, in ``self.namespace``; all of one test on the same data."""
        raise TypeError(f"{type(self).__name__} must define make(self, tmp_path) -> StateStore")

    def prepare(self, tmp_path: Path, stack: AsyncExitStack) -> Rig:
        return Rig(self, tmp_path, stack)


def now() -> float:
    """Time of the running loop, so that a loop with virtual time measures its own."""
    return asyncio.get_running_loop().time()
