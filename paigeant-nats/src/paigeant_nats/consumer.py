"""Receiving: requests under way for every queue, and deliveries that wait a moment at most."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from nats.aio.msg import Msg

from paigeant.abc import Consumer, Delivery, check_limit
from paigeant.errors import BackendClosed, BackendUnavailable, PaigeantError

from .codec import early, is_tombstone, not_before, read_message, read_receipt
from .delivery import NatsDelivery, Settler, nak
from .leases import Lease
from .link import log
from .mending import Mending
from .names import queue_of
from .pulls import NONSENSE, Pull, Source
from .subscriptions import Subscriber

if TYPE_CHECKING:
    from .session import Session

_HOLD = 0.2
"""Seconds that a message may wait for the next ``receive`` before it goes back for others."""


class NatsConsumer(Consumer):
    """Receives from the durable consumers of some queues.

    Never is more asked for than ``limit``, but for one message of each queue that seemed empty.

    :param queues: with the most messages that may be asked for at once.
    :param declare: makes or checks the durable consumer of a queue, and tells that number.
    """

    def __init__(
        self,
        session: Session,
        settler: Settler,
        queues: Mapping[str, int],
        lease: float,
        declare: Callable[[str], Awaitable[int]],
    ) -> None:
        self._session, self._settler, self._lease = session, settler, lease
        self._sources = {source.token: source for source in (Source(session, *each) for each in queues.items())}
        self._turn = deque(self._sources.values())
        self._inbox = f"{session.settings.inbox_prefix}.{secrets.token_hex(11)}."
        self._start = len(f"{session.names.prefix}.q.")
        self._ready: deque[tuple[float, NatsDelivery]] = deque()
        self._held: dict[str, Lease] = {}
        self._naks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._mutex = asyncio.Lock()
        self._abandoned = False
        self._serial = 0
        self._closed = False
        self._subscriber: Subscriber | None = None
        self._mending = Mending(session, self._turn, declare, self._news.set)
        self._beat: asyncio.TimerHandle | None = None
        self._alive = self._last = time.monotonic()

    async def open(self) -> None:
        """Listen for messages."""
        link = self._session.link
        self._subscriber = await link.subscribe(self._inbox + "*", self._came)
        link.on_down.append(self._forget)
        link.on_up.append(self._news.set)
        self._pulse()

    async def close(self) -> None:
        """Ask for nothing more, and give back what was not settled."""
        if self._closed:
            return
        self._closed = True
        self._news.set()
        if self._beat is not None:
            self._beat.cancel()
        link = self._session.link
        for listeners, listener in ((link.on_down, self._forget), (link.on_up, self._news.set)):
            if listener in listeners:
                listeners.remove(listener)
        for lease in list(self._held.values()):
            if lease and link.is_up:
                self._give_back(lease)
            lease.end()
        await self._mending.close()
        if self._subscriber is not None:  # what was under way comes until then, and is given back
            await link.unsubscribe(self._subscriber, drain=True)
            self._withdraw()
        if self._naks:
            await asyncio.wait(self._naks, timeout=self._session.settings.timeout)

    def _withdraw(self) -> None:
        """Our server knows that nobody listens, and tells the others. Who has our requests may be one of them: until it
        knows, the next message goes to nobody. What it answers now comes behind that news."""
        for source in self._sources.values():
            if source.pull is not None:
                self._spawn(self._session.link.request(source.subject, NONSENSE))

    async def receive(self, limit: int) -> list[Delivery]:
        """See ``Consumer.receive``."""
        check_limit(limit)
        async with self._mutex:
            self._abandoned = False
            try:
                while True:
                    self._check()
                    self._news.clear()
                    if found := self._take(limit):
                        return found
                    await self._ask(limit)
                    await self._news.wait()
            except BaseException:  # cancelled: what comes now is for others
                self._abandoned = True
                self._give_up(float("inf"))
                raise

    def _check(self) -> None:
        if self._closed:
            raise BackendClosed("the consumer was closed")
        self._session.link.check()
        self._mending.check()

    def _take(self, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        while self._ready and len(found) < limit:
            _, delivery = self._ready.popleft()
            if delivery.lease:
                found.append(delivery)
        return found

    async def _ask(self, limit: int) -> None:
        """Send the requests that are due."""
        if not self._session.link.is_up:
            return
        self._mending.start()
        idle = [source for source in self._turn if source.pull is None and not source.lost]
        hot = [source for source in idle if source.hot]
        asked = sum(source.pull.left for source in self._turn if source.pull is not None and source.pull.probe)
        budget = max(0, limit - asked)
        chosen = hot[:budget]
        try:
            for number, source in enumerate(chosen):
                share = budget // len(chosen) + (number < budget % len(chosen))
                await self._pull(source, min(share, source.most), probe=True)
            for source in idle:
                if not source.hot:
                    await self._pull(source, 1, probe=False)
        except BackendUnavailable:
            return  # the connection was lost this moment; its return is news
        self._turn.rotate(-len(chosen))

    async def _pull(self, source: Source, batch: int, *, probe: bool) -> None:
        self._serial += 1
        pull = source.pull = Pull(self._serial, batch, probe=probe, bounded=source.exceeds(batch))
        await self._session.link.send(source.subject, pull.body(), f"{self._inbox}{self._serial}={source.token}")

    def _came(self, msg: Msg) -> None:
        if not msg.reply:
            return self._told(msg)
        queue, _, token = msg.subject[self._start :].partition(".")
        source, receipt = self._sources.get(queue), read_receipt(msg.reply)
        if source is None or receipt is None:
            log.warning("a message to %r came unasked", msg.subject)
            return None
        source.arrived(len(msg.data))
        lease = Lease(msg.reply, self._lease, self._alive)
        if is_tombstone(msg):
            self._spawn(self._session.link.request(lease.reply))
            lease.end()
        elif (when := not_before(msg.headers)) and (ahead := early(when, self._session.clock())) > 0:
            self._spawn(nak(self._session, lease, ahead))
        else:
            deliveries = max(1, receipt.delivered - (when > 0 and receipt.delivered > 1))
            self._held[lease.token] = lease
            delivery = NatsDelivery(
                self._session,
                self._settler,
                queue_of(queue),
                read_message(msg, token),
                lease,
                subject=msg.subject,
                sequence=receipt.sequence,
                deliveries=deliveries,
            )
            self._ready.append((time.monotonic(), delivery))
            if self._abandoned or self._closed:
                self._give_up(float("inf"))
        self._news.set()
        return None

    def _told(self, msg: Msg) -> None:
        """The end of a request, or a sign of life."""
        serial, _, token = msg.subject[len(self._inbox) :].partition("=")
        source, headers = self._sources.get(token), msg.headers or {}
        if source is None or not serial.isdigit():
            return
        source.ended(int(serial), headers.get("Status", ""), headers.get("Description", ""))
        self._news.set()

    def _give_up(self, before: float) -> None:
        """Give back what nobody came for."""
        while self._ready and self._ready[0][0] < before:
            _, delivery = self._ready.popleft()
            if delivery.lease:
                self._give_back(delivery.lease)

    def _give_back(self, lease: Lease) -> None:
        self._held.pop(lease.token, None)
        self._spawn(nak(self._session, lease))

    def _spawn(self, work: Awaitable[object]) -> None:
        async def quietly() -> None:
            try:
                await work
            except PaigeantError as exc:
                log.info("a message may come back only when its lease ends: %s", exc)

        task = asyncio.create_task(quietly())
        self._naks.add(task)
        task.add_done_callback(self._naks.discard)

    def _forget(self) -> None:
        for source in self._sources.values():
            source.forget()
        self._news.set()

    def _pulse(self) -> None:
        """Notes that the loop turns: what it reads now was leased after the last turn but one, at the earliest.

        The last one does not count: after a standstill it comes before what arrived meanwhile is read.
        """
        now = time.monotonic()
        self._alive, self._last = self._last, now
        self._give_up(now - _HOLD)
        for source in self._sources.values():
            if source.silent(now):
                self._news.set()
        for token in [token for token, lease in self._held.items() if not lease]:
            self._held.pop(token).end()
        self._beat = asyncio.get_running_loop().call_later(min(0.5, self._lease / 20), self._pulse)
