"""Receiving: claims that wait, and deliveries that are settled or released."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...abc import Consumer, Delivery, check_limit, see_through
from ...errors import BackendClosed, BackendError
from ...model.message import Message, Publication
from ...model.store import Write
from .ops import Claim, Claimed, ClaimedRow, Disown, Lease, Release, read_headers, seconds
from .presence import Presence
from .session import POLL, Session


class SqliteDelivery(Delivery):
    """One claim of a message."""

    __slots__ = ("_lease", "_session", "deliveries", "lease_token", "message", "queue")

    def __init__(self, session: Session, queue: str, message: Message, lease: Lease) -> None:
        self._session, self._lease = session, lease
        self.queue, self.message = queue, message
        self.deliveries = lease.deliveries
        self.lease_token = lease.token

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Delivery.settle``."""
        self._session.check()
        await self._session.change(self._lease, publications, writes)

    async def release(self, delay: float = 0.0) -> None:
        """See ``Delivery.release``."""
        self._session.check()
        await self._session.write(Release(self._lease, seconds(delay, "delay")))


class SqliteConsumer(Consumer):
    """Claims for one ``consume`` context, under one owner number that its lock file keeps alive."""

    def __init__(self, session: Session, presence: Presence, queues: Mapping[str, int], lease: float) -> None:
        self._session, self._presence, self._lease = session, presence, lease
        self._names = {number: name for name, number in queues.items()}
        numbers = list(self._names)
        self._turns = [json.dumps(numbers[i:] + numbers[:i]) for i in range(len(numbers))]
        self._turn = 0
        self._served = 0.0
        self._waiting: set[asyncio.Event] = set()
        self._claims: set[Claim] = set()
        self._closed = False

    async def receive(self, limit: int) -> list[Delivery]:
        """See ``Consumer.receive``."""
        check_limit(limit)
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            while True:
                self._check()
                news.clear()
                claimed = await self._claim(limit)
                if claimed.rows and not self._closed:
                    self._served = time.monotonic()
                    return [self._delivery(row) for row in claimed.rows]
                await self._pause(news, claimed.next)
        finally:
            self._waiting.discard(news)

    def wake(self, queues: set[int] | None) -> None:
        """There may be something in ``queues`` (``None``: in any)."""
        if queues is None or not queues.isdisjoint(self._names):
            for news in self._waiting:
                news.set()

    async def close(self) -> None:
        """Stop receiving and give back what was not settled."""
        if self._closed:
            return
        self._closed = True
        for claim in self._claims:
            claim.abandoned = True  # it may run after our leases were given back
        self.wake(None)
        try:
            await self._session.write(Disown(self._presence.owner))
        except BaseException as exc:
            self._presence.abandon()  # its file stays, unlocked: others free the rest as if we had died
            if not isinstance(exc, BackendError):
                raise
        else:
            self._presence.close()

    def _check(self) -> None:
        if self._closed:
            raise BackendClosed("the consumer was closed")
        self._session.check()

    async def _claim(self, limit: int) -> Claimed:
        """Claim in a task of its own: a claim under way when we are cancelled must be seen through and undone."""
        claim = Claim(self._presence.owner, self._turns[self._turn], limit, self._lease, self._served)
        self._turn = (self._turn + 1) % len(self._turns)
        self._claims.add(claim)
        task = asyncio.ensure_future(self._session.write(claim))
        task.add_done_callback(lambda _: self._claims.discard(claim))
        try:
            claimed: Claimed = await asyncio.shield(task)
        except asyncio.CancelledError:
            claim.abandoned = True
            await see_through(self._undo(task))
            raise
        return claimed

    async def _undo(self, task: asyncio.Future[Any]) -> None:
        claimed: Claimed = await task
        releases = [Release(self._lease_of(row), 0.0, received=False) for row in claimed.rows]
        await asyncio.gather(*map(self._session.write, releases), return_exceptions=True)

    async def _pause(self, news: asyncio.Event, ready_at: float | None) -> None:
        """Wait until woken, until a message becomes ready, or for the next look."""
        clock = self._session.clock
        pause = POLL if ready_at is None else min(POLL, max(0.0, ready_at - clock.time()))
        try:
            async with clock.timeout(pause):
                await news.wait()
        except TimeoutError:
            pass

    def _lease_of(self, row: ClaimedRow) -> Lease:
        return Lease(row[0], self._presence.owner, row[2])

    def _delivery(self, row: ClaimedRow) -> Delivery:
        _, queue, _, mid, headers, body = row
        message = Message(mid, body, read_headers(headers))
        return SqliteDelivery(self._session, self._names[queue], message, self._lease_of(row))
