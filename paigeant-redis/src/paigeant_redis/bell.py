"""Waiting for messages without asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis import exceptions as client

from .client import Reply
from .errors import code_of, elsewhere, translate
from .wire import Wire


class Bell:
    """Waits on the doorbells of some queues: lists, popped by a blocking command on a connection of its own.

    Nothing is received by that command, so it can be left alone when its waiter is cancelled: whoever waits
    next takes it over. A ring that is lost with the connection, or with a consumer that died, costs the
    others their next look, at most.

    :param keys: the lists.
    """

    def __init__(self, wire: Wire, keys: Sequence[str]) -> None:
        self._wire, self._keys = wire, keys
        self._listening: asyncio.Task[bool] | None = None

    async def wait(self, seconds: float) -> None:
        """Return after a ring, or after about ``seconds``.

        :raises BackendError: the server is not reached.
        """
        listening = self._listening
        if listening is None:
            listening = self._listening = asyncio.create_task(self._listen(seconds))
        done, _ = await asyncio.wait([listening], timeout=seconds)
        if done:
            if listening is self._listening:
                self._listening = None
            listening.result()

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._wire.close()

    async def _listen(self, seconds: float) -> bool:
        try:
            rung: Reply = await self._wire.call(
                "BLPOP", *self._keys, max(seconds, 0.001), changes=False, patience=seconds
            )
        except client.RedisError as exc:
            if elsewhere(code_of(exc)):
                self._wire.leave()
            raise translate(exc, self._wire.where) from exc
        return rung is not None
