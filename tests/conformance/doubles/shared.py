"""Faults that a transport and a store may have alike."""

from __future__ import annotations

from typing import Any

from paigeant.errors import BackendClosed

from ..proxies import Proxy

SOON = 0.01
"""Seconds."""


class SharesNamespaces(Proxy[Any]):
    """Takes the second namespace of a test for its first."""

    def within(self, namespace: str) -> Any:
        return super().within(namespace.removesuffix("-b"))


class CountsConnects(Proxy[Any]):
    """Disconnects as often as it was connected."""

    count = 0

    async def connect(self) -> None:
        self.count += 1
        await super().connect()

    async def disconnect(self) -> None:
        self.count -= 1
        if self.count <= 0:
            await super().disconnect()


class ConnectsOnce(Proxy[Any]):
    """Cannot be connected again."""

    used = False

    async def connect(self) -> None:
        if self.used:
            raise BackendClosed("used up")
        await super().connect()

    async def disconnect(self) -> None:
        self.used = self.used or self.inner._membership.broker is not None
        await super().disconnect()


class LeaksDriverErrors(Proxy[Any]):
    """Cannot be reached, and raises what its client library raises."""

    unreachable = True

    async def connect(self) -> None:
        if self.namespace == "unreachable":
            raise ConnectionRefusedError("driver")
        await super().connect()


class TellsTexts(Proxy[Any]):
    """Its diagnosis is text."""

    async def diagnose(self) -> list[Any]:
        await super().diagnose()
        return ["all is well"]
