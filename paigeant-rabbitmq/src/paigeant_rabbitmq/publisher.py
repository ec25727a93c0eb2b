"""Publishing: many messages under way on one channel, each awaited until the broker has confirmed it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from time import time

from paigeant.errors import BackendUnavailable, ConfigurationError, MessageTooLarge, OutcomeUnknown
from paigeant.model.message import Publication

from . import errors, frames
from .delays import LONGEST, bucket
from .line import Line
from .link import Link
from .notes import Note
from .outlet import Group, Outlet, Sent
from .received import MOST_HEADERS
from .settings import RabbitMQSettings
from .tasks import apart
from .topology import Topology

_MOST_METHODS = 1000


class Publisher:
    """Sends publications over a link, and declares what they need."""

    def __init__(self, link: Link, topology: Topology, settings: RabbitMQSettings) -> None:
        self._link, self._topology, self._settings = link, topology, settings
        self._outlet: Outlet | None = None
        self._opening: asyncio.Future[Outlet] | None = None
        self._methods: dict[tuple[str, str], bytes] = {}

    async def publish(
        self, publications: Sequence[Publication], group: Group | None = None, *, received: int = 0
    ) -> None:
        """Send all of them; return when all are confirmed.

        :param group: follows them, although this call be cancelled.
        :param received: how often the message was received before this copy of it was made.
        """
        group, outlet = group or Group(), self._outlet
        for publication in publications:
            self._check(publication, group.size)
        ready = outlet is not None and outlet.usable and self._link.blocked is None
        if not ready or not all(map(self._prepared, publications)):
            await self._prepare(publications)
            outlet = await self._usable()
        assert outlet is not None
        self._send(outlet, publications, group, received)
        await group.future
        if group.unrouted:
            await self._again(group, received)

    async def _again(self, group: Group, received: int) -> None:
        """Somebody has deleted a queue that was known: make it, and repeat once."""
        lost = group.unrouted
        for one in lost:
            self._topology.forget(self._topology.queue(one.queue))
            self._topology.forget(self._topology.bucket(self._bucket(one)))
        await self._prepare(lost)
        self._send(await self._usable(), lost, group, received)
        await group.future
        if group.unrouted:
            raise BackendUnavailable(
                f"RabbitMQ at {self._link.where} routes nothing to queue {lost[0].queue!r}, although it was just "
                "declared; does somebody delete it?"
            )

    # -- what must be there

    def _prepared(self, publication: Publication) -> bool:
        topology = self._topology
        if not topology.knows(topology.queue(publication.queue)):
            return False
        return publication.delay <= 0 or topology.knows(topology.bucket(self._bucket(publication)))

    async def _prepare(self, publications: Sequence[Publication]) -> None:
        await self._unblocked()  # until then declarations have no answer
        for one in publications:
            await self._topology.ensure_queue(one.queue, one.ttl)
            if one.delay > 0:
                await self._topology.ensure_bucket(self._bucket(one))

    async def _usable(self) -> Outlet:
        """The channel to publish on; waits a while for a broker that is away or takes nothing."""
        line = await self._link.line(self._settings.timeout)
        await self._unblocked()
        while self._outlet is None or not self._outlet.usable or self._outlet.line is not line:
            if self._opening is None:
                self._opening = asyncio.ensure_future(self._open(line))
                self._opening.add_done_callback(self._opened)
            self._outlet = await asyncio.shield(self._opening)  # a caller who is cancelled leaves it to the others
        return self._outlet

    def _opened(self, opening: asyncio.Future[Outlet]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # seen, although everybody who waited be cancelled

    async def _open(self, line: Line) -> Outlet:
        outlet = Outlet(self._link, line, self._topology.forget_buckets)
        try:
            async with asyncio.timeout(self._settings.timeout):
                await apart(outlet.open())
        except errors.TRANSIENT as exc:
            raise errors.calling(exc, str(line.address), "opening a channel") from exc
        return outlet

    async def _unblocked(self) -> None:
        if self._link.blocked is None:
            return
        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._link.unblocked.wait()
        except TimeoutError as exc:
            raise BackendUnavailable(errors.halted(self._link.where, str(self._link.blocked))) from exc

    # -- frames

    def _send(self, outlet: Outlet, publications: Sequence[Publication], group: Group, received: int) -> None:
        """Encode all, then send all: what cannot be encoded leaves nothing sent."""
        room = outlet.line.frame_max - 8
        room = room if group.settles else min(room, MOST_HEADERS)  # what was received may get some more, and still pass
        encoded = [self._encode(outlet, one, received, room) for one in publications]
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        group.start(len(publications))
        for one, parts in zip(publications, encoded, strict=True):
            outlet.send(Sent(one, self._topology.queue(one.queue), group, deadline), parts)

    def _encode(self, outlet: Outlet, one: Publication, received: int, room: int) -> list[bytes]:
        message, note, expiration, exchange = one.message, "", "", ""
        if one.delay > 0:
            exchange, due = self._topology.bucket(self._bucket(one)), math.ceil((time() + one.delay) * 1000)
            note = str(Note(due, received))
        elif received:
            note = str(Note(0, received))
        if one.ttl is not None and not exchange:  # in a bucket it would come out, and be due, too early
            expiration = str(min(int(one.ttl * 1000) + 1000, 2**32 - 1))
        try:
            header = frames.content_header(len(message.body), message.id, message.headers, note, expiration)
        except ValueError as exc:
            raise MessageTooLarge(
                f"the id or the name of a header of a message for queue {one.queue!r}: {exc}"
            ) from exc
        if len(header) > room:
            raise MessageTooLarge(
                f"the headers of message {message.id!r} for queue {one.queue!r} take {len(header)} bytes, over {room}"
            )
        method = self._method(exchange, self._topology.queue(one.queue))
        return frames.content(outlet.number, method, header, message.body, outlet.line.frame_max)

    def _method(self, exchange: str, queue: str) -> bytes:
        found = self._methods.get((exchange, queue))
        if found is None:
            if len(self._methods) >= _MOST_METHODS:
                self._methods.clear()
            found = self._methods[exchange, queue] = frames.publish_method(exchange, queue)
        return found

    def _bucket(self, publication: Publication) -> int:
        return bucket(publication.delay * 1000) if publication.delay > 0 else 0

    def _check(self, publication: Publication, received: int) -> None:
        message, limit = publication.message, self._settings.max_message
        if len(message.body) > max(limit, received):
            raise MessageTooLarge(
                f"a message of {len(message.body)} bytes for queue {publication.queue!r} is over {limit} bytes "
                "(PAIGEANT_RABBITMQ_MAX_MESSAGE); store large values aside (a state store does)"
            )
        if not 0 <= publication.delay <= LONGEST:
            raise ConfigurationError(f"delay must be 0 to {LONGEST:.0f} seconds, not {publication.delay!r}")

    async def close(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.fail(OutcomeUnknown("the RabbitMQ transport was disconnected while a message was under way"))
