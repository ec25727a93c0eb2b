"""A time limit that costs nothing when the answer is there at once, as that of a local key is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``, at most ``seconds``. The timer is armed only if the work has to wait for something:
    it costs more than an HMAC.

    :raises TimeoutError: it took longer; the work is cancelled.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    async with asyncio.timeout(seconds):
        return await _Rest(work, waits_for)


class _Rest(Awaitable[T]):
    """What remains of a coroutine that has run up to where it first waits: ``await`` from there (PEP 380)."""

    def __init__(self, work: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._work, self._waits_for = work, waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._waits_for
        while True:
            thrown = sent = None
            try:
                sent = yield waits_for
            except BaseException as exc:
                thrown = exc
            try:
                waits_for = self._work.send(sent) if thrown is None else self._work.throw(thrown)
            except StopIteration as done:
                answer: T = done.value
                return answer
