"""What happens to workers and brokers while they work. Each dispatches everything, a batch at each strike."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rig.clusters import Cluster
from rig.proxy import Proxy
from rig.rabbit import RabbitServer
from rig.server import Server

from .places import LONGEST
from .storm import Storm

EVERY = 1.0
"""Seconds from kill to kill."""


async def nothing(storm: Storm) -> None:
    """Only dispatches."""
    for _ in range(storm.report.strikes):
        async with storm.dispatching():
            pass


async def kills(storm: Storm) -> None:
    """``kill -9`` a worker in the middle of a step, every second, more or less: at a fixed beat, what a killed worker
    held would come back with its lease just in time for another strike, and again, until it counts as poison."""
    for _ in range(storm.report.strikes):
        struck = time.monotonic() + storm.chance.uniform(-0.4, 0.4)
        async with storm.dispatching():
            storm.fleet.kill(await storm.victim())
        await asyncio.sleep(max(0.0, struck + EVERY - time.monotonic()))


def freezes(lease: float) -> Callable[[Storm], Awaitable[None]]:
    """``SIGSTOP`` a worker in the middle of a step, ``SIGCONT`` when its lease has ended long ago."""

    async def freeze(storm: Storm) -> None:
        for _ in range(storm.report.strikes):
            async with storm.dispatching():
                worker = await storm.victim()
                worker.pause()
                try:
                    await asyncio.sleep(lease * 1.7)
                finally:
                    worker.send(signal.SIGCONT)

    return freeze


def outages(server: Server) -> Callable[[Storm], Awaitable[None]]:
    """``kill -9`` the broker in the middle of steps, and start it again."""

    async def outage(storm: Storm) -> None:
        for _ in range(storm.report.strikes):
            async with storm.dispatching():
                await storm.victim()
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(_start, storm, server)

    return outage


LEADERLESS = (
    "[ra:trigger_election(S) || Q <- rabbit_amqqueue:list(), S <- [amqqueue:get_pid(Q)],"
    " element(1, ra:members(S, 3000)) =/= ok]."
)


def _start(storm: Storm, server: Server) -> None:
    """RabbitMQ on one node may come back with a quorum queue that never elects itself (rabbitmq-server 10070): then
    an operator must ask for the election, and so does this one."""
    server.start()
    if isinstance(server, RabbitServer):
        storm.report.elections += server.control("eval", LEADERLESS).count("ok")


def cuts(proxy: Proxy) -> Callable[[Storm], Awaitable[None]]:
    """No byte passes for longer than every timeout lasts; then all that was held back does."""

    async def cut(storm: Storm) -> None:
        for _ in range(storm.report.strikes):
            async with storm.dispatching():
                await storm.victim()
                proxy.cut()
                try:
                    await asyncio.sleep(2 * LONGEST)
                finally:
                    proxy.heal()

    return cut


def wipes(server: Server) -> Callable[[Storm], Awaitable[None]]:
    """The broker forgets everything: what it held, and that it held anything."""

    async def wipe(storm: Storm) -> None:
        for _ in range(storm.report.strikes):
            async with storm.dispatching():
                await storm.victim()
                await storm.eventually(lambda: storm.backlog > 1, "messages in the broker")
                await asyncio.to_thread(server.kill)
                server.wipe()
                await asyncio.to_thread(server.start)

    return wipe


def leader_kills(
    cluster: Cluster[Any], leader: Callable[[], Server], whole: Callable[[Cluster[Any]], bool]
) -> Callable[[Storm], Awaitable[None]]:
    """``kill -9`` the node that leads, in the middle of steps; it comes back when another leads.

    :param leader: the node that leads now; raises ``BrokerError`` while none does.
    :param whole: whether every node can take the place of another.
    """

    async def kill(storm: Storm) -> None:
        for _ in range(storm.report.strikes):
            async with storm.dispatching():
                await storm.victim()
                struck = await asyncio.to_thread(leader)
                await asyncio.to_thread(cluster.kill, struck)
                await asyncio.to_thread(cluster.eventually, lambda: bool(leader()), "led again")
                if storm.place.broker != "rabbitmq":  # its reply queue is on one node: outcomes wait for that one
                    await storm.progress()
                await asyncio.to_thread(struck.start)
                await asyncio.to_thread(cluster.eventually, lambda: whole(cluster), "whole again")

    return kill
