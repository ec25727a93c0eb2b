"""What the tests of the Redis transport share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from paigeant.abc import Consumer, Delivery
from paigeant.errors import BackendUnavailable, OutcomeUnknown
from paigeant.model.message import Message, Publication
from rig.brokers import RedisServer
from rig.ports import HOST

PATIENCE = 20.0
"""Upper bound of every wait, in seconds: reached only by a test that fails."""


class SentinelServer(RedisServer):
    """A Sentinel that watches ``config['watch']``, a port."""

    def _command(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        lines = [
            f"port {self.port}",
            f"bind {self.host}",
            f"dir {self.data}",
            f"sentinel monitor mymaster {HOST} {self.config['watch']} 1",
            "sentinel down-after-milliseconds mymaster 500",
            "sentinel failover-timeout mymaster 3000",
        ]
        file.write_text("\n".join(lines) + "\n")
        return [str(self.installation.path), str(file), "--sentinel"]


def publication(number: int | str, queue: str = "work", **more: Any) -> Publication:
    return Publication(queue, Message(f"m-{number}", b"body", {"k": "v"}), **more)


async def one(consumer: Consumer, within: float = PATIENCE) -> Delivery:
    async with asyncio.timeout(within):
        (delivery,) = await consumer.receive(1)
        return delivery


async def repeat(call: Callable[[], Awaitable[object]], within: float = PATIENCE) -> object:
    """As the core does: the same call with the same ids until it is answered."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await call()
            except (BackendUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.05)
