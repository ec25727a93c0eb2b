"""Telling the server which consumers are alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Final

from paigeant.errors import BackendClosed, BackendError, PaigeantError

from .consumer import RedisConsumer
from .server import Server

_log = logging.getLogger("paigeant.redis")
_PERIOD: Final = 5.0
_ALIVE: Final = 3
"""Periods for which a consumer counts as alive after it was last heard of."""


@contextlib.asynccontextmanager
async def present(server: Server, consumer: RedisConsumer) -> AsyncGenerator[None]:
    """Count ``consumer`` among those of its queues, and keep queues that serve one process alive."""
    period = _PERIOD if consumer.expires is None else min(_PERIOD, consumer.expires / 4)
    await _tell(server, consumer, period)
    telling = asyncio.create_task(_keep_telling(server, consumer, period), name="paigeant redis presence")
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
        with contextlib.suppress(BackendError):  # then it stops to count by itself
            await server.run(server.scripts.queues, "leave", consumer.name, *consumer.queues)


async def _keep_telling(server: Server, consumer: RedisConsumer, period: float) -> None:
    while True:
        await asyncio.sleep(period)
        try:
            await _tell(server, consumer, period)
        except BackendClosed:
            return
        except PaigeantError as exc:
            _log.warning("cannot tell that consumer %s is alive: %s", consumer.name, exc)


async def _tell(server: Server, consumer: RedisConsumer, period: float) -> None:
    keep = "" if consumer.expires is None else repr(consumer.expires * 1000)
    alive = repr(period * _ALIVE * 1000)
    await server.run(server.scripts.queues, "present", consumer.name, alive, keep, *consumer.queues)
