"""Group commit: many awaiters, one commit (Gray and Reuter, "Transaction Processing", 1993)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ..errors import BackendClosed

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Coalesces concurrent calls of ``submit`` into one ``commit``.

    While a commit runs, further items gather; the next commit takes all of them (at most
    ``max_items``). So a lone caller waits for nobody, and a hundred share one round trip.

    :param commit: takes the items and returns as many results, in order. An exception as a *result*
        fails that item only; an exception *raised* fails them all.
    :param max_items: largest batch.
    """

    def __init__(
        self, commit: Callable[[Sequence[T]], Awaitable[Sequence[R | BaseException]]], *, max_items: int = 256
    ) -> None:
        self._commit = commit
        self._max = max_items
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, item: T) -> R:
        """Return the result of ``item``, once its batch is committed.

        A caller cancelled before its batch starts takes its item back; one cancelled later leaves
        it to the commit, whose result is dropped.

        :raises BackendClosed: after ``close``.
        :raises RuntimeError: the commit is wrong: it returned fewer or more results than it got items.
        """
        if self._closed:
            raise BackendClosed("closed")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await future

    async def close(self) -> None:
        """Refuse further items and wait until all that were submitted are committed."""
        self._closed = True
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        try:
            while batch := self._take():
                await self._settle(batch)
        except BaseException as exc:  # cancelled, as the loop ends: nobody may be left to wait for ever
            stranded, self._waiting = self._waiting, []
            for _, future in stranded:
                _resolve(future, exc)
            raise
        finally:
            self._runner = None

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        live = [pair for pair in self._waiting if not pair[1].cancelled()]
        self._waiting = live[self._max :]
        return live[: self._max]

    async def _settle(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._commit([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(
                    f"the commit of {len(batch)} items returned {len(results)} results: whose, nobody knows"
                )
        except BaseException as exc:
            for _, future in batch:
                _resolve(future, exc)
            if not isinstance(exc, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            _resolve(future, result)


def _resolve(future: asyncio.Future[R], result: R | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, asyncio.CancelledError):
        future.cancel()
    elif isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
