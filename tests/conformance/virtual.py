"""An event loop whose time jumps instead of passing: a suite full of waiting runs in no time."""

from __future__ import annotations

import asyncio
import selectors

_TURN = 1e-5  # each turn takes a little, so that a busy loop cannot stop the clock


class _JumpingSelector(selectors.DefaultSelector):
    offset = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is None or timeout > 0 else timeout)
        if ready:
            return ready
        if timeout is None:
            return super().select(1.0)  # only another thread can end this
        self.offset += max(timeout, 0.0) + _TURN
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its ``time()`` moves on exactly as far as its tasks want to sleep."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.offset


class LoopClock:
    """``Clock`` by the running loop's time, so that leases and delays jump, too."""

    def time(self) -> float:
        return 1_700_000_000.0 + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(delay)

    def timeout(self, delay: float | None) -> asyncio.Timeout:
        return asyncio.timeout(delay)
