"""Transports and stores that several open: whoever needs one first connects it, whoever needs it last closes it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from ..abc import StateStore, Transport
from ..errors import BackendClosed
from .instances import PerInstance


class _Share:
    """What we hold of one instance. ``ours``: we connected it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.ours = False
        self.holders = 0

    async def enter(self, backend: Transport | StateStore) -> bool:
        """Whether it must be left again."""
        async with self.lock:
            if not await _connected(backend):
                await backend.connect()
                self.ours = True
            self.holders += self.ours
            return self.ours

    async def leave(self, backend: Transport | StateStore) -> None:
        self.holders -= 1  # before anything is awaited: whoever is cancelled here holds nothing any more
        async with self.lock:
            if self.ours and not self.holders:
                self.ours = False
                await backend.disconnect()


# By event loop, too: a lock belongs to one, and what was left open in a loop that ended is held by nobody.
_shares: PerInstance[PerInstance[_Share]] = PerInstance(lambda: PerInstance(_Share))


async def open_shared(stack: AsyncExitStack, backend: Transport | StateStore) -> None:
    """Have ``backend`` connected until ``stack`` is closed; one that somebody else connected stays theirs."""
    share = _shares.of(backend).of(asyncio.get_running_loop())
    if await share.enter(backend):
        stack.push_async_callback(share.leave, backend)


async def _connected(backend: Transport | StateStore) -> bool:
    """Whether somebody has connected it (rules T02 and S01: otherwise every call raises ``BackendClosed``)."""
    try:
        await (backend.renew(()) if isinstance(backend, Transport) else backend.now())
    except BackendClosed:
        return False
    return True
