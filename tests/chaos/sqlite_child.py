"""A process for the SQLite chaos tests to kill: ``python sqlite_child.py ROLE PATH [ARGUMENT]``.

Prints one line per fact, and only after it is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from paigeant.abc.transport import Delivery
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import LeaseLost
from paigeant.model.message import Message, Publication
from paigeant.model.store import ABSENT, Write


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def forward(delivery: Delivery) -> None:
    """One hop: settle, the successor of the same id, and an entry that must not exist yet."""
    name = delivery.message.id
    successor = Publication("out", Message(name, delivery.message.body))
    await delivery.settle(successor, writes=[Write(f"done/{name}", b"x", ABSENT)])
    say("settled", name)


async def churn(transport: SqliteTransport, tag: str) -> None:
    """Publish and forward, ten at a time each, until killed."""

    async def publish(lane: int) -> None:
        number = 0
        while True:
            name = f"{tag}-{lane}-{number}"
            await transport.publish(Publication("in", Message(name, b"b" * 2000)))
            say("published", name)
            number += 1

    async def work() -> None:
        async with transport.consume(["in"], lease=60) as consumer:
            while True:
                await asyncio.gather(*(forward(d) for d in await consumer.receive(10)))

    say("ready")
    await asyncio.gather(work(), *(publish(lane) for lane in range(10)))


async def hold(transport: SqliteTransport, argument: str) -> None:
    """Receive, and keep what was received; with ``fork``, leave a copy of this process behind."""
    async with transport.consume(["in"], lease=60) as consumer:
        deliveries = await consumer.receive(100)
        if argument == "fork":
            copy = os.fork()
            if copy == 0:
                await asyncio.sleep(0)
                os.read(0, 1)  # until the test closes our input
                os._exit(0)
        say("held", len(deliveries))
        await asyncio.sleep(3600)


async def freeze(transport: SqliteTransport, argument: str) -> None:
    """Receive with a short lease, wait to be stopped and continued, then act as if nothing had happened."""
    async with transport.consume(["in"], lease=float(argument)) as consumer:
        (delivery,) = await consumer.receive(1)
        say("held", delivery.message.id)
        await asyncio.to_thread(sys.stdin.readline)
        say("lost", *await transport.renew([delivery.lease_token]))
        for act in (lambda: forward(delivery), delivery.release):
            try:
                await act()
                say("accepted")
            except LeaseLost:
                say("refused")


async def drain(transport: SqliteTransport, argument: str) -> None:
    """Forward until told to stop by an idle second; fail on any error."""
    async with transport.consume(["in"], lease=60) as consumer:
        say("ready")
        while True:
            try:
                async with asyncio.timeout(float(argument)):
                    deliveries = await consumer.receive(7)
            except TimeoutError:
                say("end")
                return
            await asyncio.gather(*map(forward, deliveries))


async def echo(transport: SqliteTransport, argument: str) -> None:
    """Say what arrives."""
    async with transport.consume(["in"], lease=60) as consumer:
        say("ready")
        while True:
            for delivery in await consumer.receive(1):
                say("received", delivery.message.id)
                await delivery.settle()


ROLES: dict[str, Callable[[SqliteTransport, str], Coroutine[None, None, None]]] = {
    role.__name__: role for role in (churn, hold, freeze, drain, echo)
}


async def main(role: str, path: str, argument: str = "") -> None:
    async with SqliteTransport(Path(path)) as transport:
        await ROLES[role](transport, argument)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
