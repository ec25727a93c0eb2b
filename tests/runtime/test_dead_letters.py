"""Replaying dead letters: none is lost, none is sent twice, whatever becomes of their leases."""

from __future__ import annotations

from typing import Any

import pytest

from paigeant import DeadLetters
from paigeant.builtin.inmemory.transport import InMemoryDelivery, InMemoryTransport
from paigeant.errors import LeaseLost
from paigeant.model.message import Message, Publication
from paigeant.testing import VirtualClock


def letter(name: str, refused_at: str = "1.000", body: bytes = b"junk") -> Publication:
    headers = {"paigeant-error": "UnknownKey", "paigeant-refused-at": refused_at}
    return Publication("work.dead", Message(name, body, headers))


async def ready(transport: InMemoryTransport, queue: str) -> list[str]:
    return [message.id for message in await transport.peek(queue)]


async def test_a_replayed_message_is_no_repeat_of_the_refused_one() -> None:
    """A broker's window would swallow it. The same dead letter, delivered again after a crash, *is* a repeat."""
    async with InMemoryTransport("inmemory://ids") as transport, DeadLetters(transport) as dead:
        first = letter("m")
        again = letter("m", refused_at="2.000")
        other = letter("m", body=b"other junk")
        await transport.publish(first, first, again, other)
        assert await dead.replay("work") == 4
        replayed = await transport.peek("work")
        assert [message.body for message in replayed] == [b"junk", b"junk", b"junk", b"other junk"]
        ids = [message.id for message in replayed]
        assert ids[0] == ids[1]
        assert len({"m", *ids}) == 4
        await transport.purge("work")
        await transport.publish(letter(ids[0]))
        await dead.replay("work")
        assert not {"m", *ids} & set(await ready(transport, "work"))


async def test_leases_outlast_a_long_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait for their turn, and those that are kept aside until the end."""
    clock = VirtualClock()
    settle = InMemoryDelivery.settle

    async def slow(self: InMemoryDelivery, *successors: Publication, **options: Any) -> None:
        await clock.advance(12)
        await settle(self, *successors, **options)

    monkeypatch.setattr(InMemoryDelivery, "settle", slow)
    async with InMemoryTransport("inmemory://slow", clock=clock) as transport:
        await transport.publish(*(letter(f"{kind}-{n}") for n in range(4) for kind in ("kept", "wanted")))
        async with DeadLetters(transport, clock=clock) as dead:
            assert await dead.replay("work", [f"wanted-{n}" for n in range(4)]) == 4
        assert len(await ready(transport, "work")) == 4
        assert await ready(transport, "work.dead") == [f"kept-{n}" for n in range(4)]


async def test_a_lost_lease_does_not_end_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = InMemoryDelivery.settle

    async def lose_once(self: InMemoryDelivery, *successors: Publication, **options: Any) -> None:
        if self.deliveries == 1:
            await self.release()
            raise LeaseLost("it went back")
        await settle(self, *successors, **options)

    monkeypatch.setattr(InMemoryDelivery, "settle", lose_once)
    async with InMemoryTransport("inmemory://lost") as transport, DeadLetters(transport) as dead:
        await transport.publish(*(letter(f"m-{n}") for n in range(3)))
        assert await dead.replay("work") == 3
        assert len(await ready(transport, "work")) == 3
        assert await ready(transport, "work.dead") == []
