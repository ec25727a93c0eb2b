"""Receiving: the broker pushes what can be started, and what is not started soon goes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from time import time
from typing import TypeVar

from aiormq.abc import AbstractChannel
from pamqp import commands

from paigeant.abc import Consumer, Delivery, check_limit
from paigeant.errors import BackendClosed

from . import delays, errors, frames
from .acks import Acks
from .buffer import Buffer
from .delivery import Outbound, RabbitMQDelivery
from .lane import Grip, Lane
from .line import Line, closing_of
from .link import Link
from .received import read
from .returns import Returns
from .settings import RabbitMQSettings
from .tasks import cancel
from .topology import Topology

_T = TypeVar("_T")
log = logging.getLogger("paigeant.rabbitmq")

_FIRST, _LONGEST = 0.1, 5.0
_GOODBYE = 1.0
"""Seconds for what is under way when the consumer is closed: subscriptions, and messages that go back."""


class RabbitMQConsumer(Consumer):
    """One channel, a subscription for each queue, and one task that tends them.

    :param expires: see ``Transport.consume``.
    """

    def __init__(
        self,
        outbound: Outbound,
        link: Link,
        topology: Topology,
        settings: RabbitMQSettings,
        queues: Iterable[str],
        expires: float | None,
    ) -> None:
        self._outbound, self._link, self._topology, self._settings = outbound, link, topology, settings
        self._lanes = [Lane(name, topology.queue(name)) for name in queues]
        self._expires = expires
        self._pushing: dict[bytes, tuple[Lane, Grip]] = {}
        self._buffer, self._returns = Buffer(self._on_stale), Returns()
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._news = asyncio.Event()
        self._idle = self._stale = self._closed = self._gone = self._serving = False
        self._most = 1
        self._line: Line | None = None
        self._channel: AbstractChannel | None = None
        self._acks: Acks | None = None
        self._loop = asyncio.get_running_loop()
        self._tender: asyncio.Task[None] | None = None

    async def open(self, lease: float) -> None:
        """Declare the queues and begin.

        :raises ConfigurationError: a queue exists with other arguments or another lease.
        """
        for lane in self._lanes:
            if self._expires is None:
                await self._topology.keep_lease(lane.name, lease)
            await self._topology.consume_queue(lane.name, self._expires)
        self._tender = asyncio.create_task(self._tend(), name="paigeant rabbitmq consumer")
        self._tender.add_done_callback(lambda _: self._wake())

    async def receive(self, limit: int) -> list[Delivery]:
        """See ``Consumer.receive``."""
        check_limit(limit)
        self._most = max(self._most, limit)
        while True:
            self._check()
            if found := self._buffer.take(limit):
                return found
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting[waiter] = limit
            if self._channel is None or any(lane.wants(limit) for lane in self._lanes):
                self._news.set()
            try:
                await waiter
            except asyncio.CancelledError:
                del self._waiting[waiter]
                self._stop_pushing()
                raise
            del self._waiting[waiter]

    async def close(self) -> None:
        """Stop; what is not settled goes back to its queue with the channel."""
        self._closed = True
        self._wake()
        self._news.set()
        if self._tender is not None and self._serving:  # it may be in the middle of a call
            await asyncio.wait([self._tender], timeout=_GOODBYE)
        if self._tender is not None:
            await cancel(self._tender)
        await self._returns.close()

    # -- what the broker sends

    def on_message(self, method: bytes, header: bytes, body: bytes, returned: bool) -> None:
        name, tag, redelivered = frames.read_deliver(method)
        pushed = self._pushing.get(name)
        if pushed is None:
            return None  # the channel is being closed, which gives it back
        lane, grip = pushed
        grip.arrived(tag)
        if self._closed:
            return None  # as above; ``arrived``, lest it be acknowledged together with others
        counted = self._settings.queue_type == "quorum"
        message, due, deliveries = read(header, body, redelivered=redelivered, counted=counted)
        delivery = RabbitMQDelivery(self._outbound, grip, tag, lane.name, message, deliveries, due)
        if due and (early := due / 1000 - time()) > 0:
            return self._returns.give_back(delivery, min(early, delays.LONGEST))
        self._buffer.add(delivery)
        if self._waiting:
            self._wake()
        return None

    def on_confirm(self, tag: int, multiple: bool, stored: bool) -> None:
        """Nothing is published on this channel."""

    def on_close(self) -> None:
        self._gone = True
        self._end_grips()
        self._news.set()

    def _on_cancel(self, frame: commands.Basic.Cancel | commands.Basic.CancelOk) -> None:
        """The broker ended a subscription: its queue was deleted or moved, or a delivery was held for too long."""
        for lane in self._lanes:
            if lane.tag == frame.consumer_tag:
                log.warning("RabbitMQ no longer sends messages of queue %r; subscribing again", lane.name)
                lane.end()
                self._topology.forget(lane.entity)
                self._buffer.drop_lost()
        self._news.set()

    # -- the buffer

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _on_stale(self) -> None:
        self._stale = True
        self._news.set()

    def _stop_pushing(self) -> None:
        """Nobody waits: nothing shall be leased to us."""
        if not self._waiting and not self._closed:
            self._idle = True
            self._news.set()

    # -- the task

    async def _tend(self) -> None:
        pause = _FIRST
        while True:
            line = await self._link.line(None)
            since = self._loop.time()
            try:
                self._serving = True
                await self._serve(line)
                return
            except errors.TROUBLE as exc:
                if self._closed:
                    return
                problem = errors.calling(exc, str(line.address), f"consuming {', '.join(self._names())}")
                log.warning("%s; trying again", problem)
            finally:
                await self._leave()
                self._serving = False
            pause = _FIRST if self._loop.time() - since > _LONGEST else min(2 * pause, _LONGEST)
            await asyncio.sleep(pause)

    async def _serve(self, line: Line) -> None:
        if self._line is not None:  # a second line: what was declared may have gone with the first
            for lane in self._lanes:
                await self._topology.consume_queue(lane.name, self._expires)
        self._line, self._gone = line, False
        self._channel = channel = await self._timed(line.channel(self))
        self._acks = Acks(line.wire, channel.number)
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        closing = closing_of(channel)
        while True:
            if self._gone:
                await asyncio.wait([closing], timeout=self._settings.timeout)
                reason = closing.exception() if closing.done() and not closing.cancelled() else None
                raise reason or ConnectionError("the connection was lost")
            if self._closed:
                return await self._returns.finish()  # or what they are copies of would go back, too
            await self._adjust(channel)
            await self._news.wait()
            self._news.clear()

    async def _adjust(self, channel: AbstractChannel) -> None:
        """Subscribe to what is wanted, unsubscribe from what is not."""
        if self._waiting:
            self._idle = self._stale = False
            limit = max(self._waiting.values())
            for lane in self._lanes:
                if lane.wants(limit):
                    await self._subscribe(channel, lane, limit)
        elif self._idle or self._stale:
            full = self._buffer.queues()
            stopped = [lane for lane in self._lanes if self._idle or lane.name in full]
            self._idle = self._stale = False
            for lane in stopped:
                await self._unsubscribe(channel, lane)
            if not self._waiting and not self._closed:
                for delivery in self._buffer.take_of({lane.name for lane in stopped}):
                    self._returns.give_back(delivery, 0.0)

    async def _subscribe(self, channel: AbstractChannel, lane: Lane, limit: int) -> None:
        assert self._acks is not None
        prefetch = lane.next_prefetch(limit, self._most)
        await self._unsubscribe(channel, lane)
        if not self._topology.knows(lane.entity):
            await self._topology.consume_queue(lane.name, self._expires)
        grip = Grip(self._acks)
        self._pushing[grip.name.encode()] = lane, grip
        lane.subscribe(grip, prefetch)
        await self._timed(channel.basic_qos(prefetch_count=prefetch))
        await self._timed(channel.basic_consume(lane.entity, _unused, consumer_tag=grip.name))

    async def _unsubscribe(self, channel: AbstractChannel, lane: Lane) -> None:
        if tag := lane.unsubscribe():
            await self._timed(channel.basic_cancel(tag))
            self._pushing.pop(tag.encode(), None)

    async def _timed(self, call: Awaitable[_T]) -> _T:
        async with asyncio.timeout(self._settings.timeout):
            return await call

    async def _leave(self) -> None:
        """Give up the channel; the broker takes back what was not settled."""
        self._end_grips()
        channel, self._channel = self._channel, None
        if channel is None or self._line is None:
            return
        try:
            if self._acks is not None and self._acks.crowded and not self._gone:
                async with asyncio.timeout(1.0):
                    await self._take_in(channel)
        except errors.TRANSIENT:
            pass  # closed by the broker already, or with the connection
        finally:
            await self._line.shut(channel)

    async def _take_in(self, channel: AbstractChannel) -> None:
        """See that no acknowledgement still waits in the channel: a subscription comes to the queue after them."""
        await channel.basic_qos(prefetch_count=1)
        for lane in self._lanes:
            subscribed = await channel.basic_consume(lane.entity, _unused)
            await channel.basic_cancel(str(subscribed.consumer_tag))

    def _end_grips(self) -> None:
        for lane in self._lanes:
            lane.end()
        self._pushing.clear()
        self._buffer.clear()

    def _names(self) -> list[str]:
        return [repr(lane.name) for lane in self._lanes]

    def _check(self) -> None:
        if self._closed:
            raise BackendClosed("the consumer was closed")
        self._outbound.check()
        if self._tender is not None and self._tender.done():
            exc = self._tender.exception()
            raise BackendClosed(f"the consumer of {', '.join(self._names())} ended with an error: {exc!r}") from exc


async def _unused(message: object) -> None:
    """Messages come through the sink."""
