"""The process-wide brokers: queues, leases and entries behind one lock."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Collection, Sequence
from math import inf
from typing import TYPE_CHECKING

from ...abc.clock import Clock
from ...errors import ConfigurationError, LeaseLost
from ...model.message import Message, Publication, QueueStats
from ...model.store import Write
from .bell import Bell
from .entries import Entries

if TYPE_CHECKING:
    from .transport import InMemoryConsumer

_log = logging.getLogger("paigeant.inmemory")


class Slot:
    """One message in a queue."""

    __slots__ = ("deliveries", "drop_at", "holder", "message", "until")

    def __init__(self, message: Message, drop_at: float) -> None:
        self.message = message
        self.drop_at = drop_at
        self.deliveries = 0
        self.until = 0.0  # end of the lease, while it has one
        self.holder: InMemoryConsumer | None = None


class Queue:
    """Ready, delayed and leased messages of one name. The caller holds the broker's lock."""

    __slots__ = ("_earliest", "_sequence", "consumers", "delayed", "lease", "leased", "name", "ready")

    def __init__(self, name: str, sequence: itertools.count[int]) -> None:
        self.name = name
        self.lease: float | None = None
        self.ready: deque[Slot] = deque()
        self.delayed: list[tuple[float, int, Slot]] = []
        self.leased: dict[str, Slot] = {}  # by token
        self.consumers: list[InMemoryConsumer] = []  # who was served last is last
        self._earliest = inf  # no lease ends before this
        self._sequence = sequence

    def add(self, slot: Slot, when: float, now: float) -> None:
        """Make ``slot`` ready at ``when`` and tell the consumers."""
        ready = self.ready
        while ready and ready[0].drop_at <= now:
            ready.popleft()
        if when <= now:
            ready.append(slot)
        else:
            heapq.heappush(self.delayed, (when, next(self._sequence), slot))
        for consumer in self.consumers:
            consumer.bell.ring()

    def ripen(self, now: float) -> None:
        """Make ready what is due by ``now``: delayed messages and those whose lease ended."""
        while self.delayed and self.delayed[0][0] <= now:
            self.ready.append(heapq.heappop(self.delayed)[2])
        if self._earliest > now:
            return
        ended = [token for token, slot in self.leased.items() if slot.until <= now]
        self.ready.extend(self.leased.pop(token) for token in ended)
        self._earliest = min((slot.until for slot in self.leased.values()), default=inf)

    def next_change(self) -> float:
        """When ``ripen`` may next find something, by the monotonic clock."""
        return min(self._earliest, self.delayed[0][0]) if self.delayed else self._earliest

    def take(self, holder: InMemoryConsumer, now: float) -> tuple[str, Slot] | None:
        """Lease the next ready message to ``holder``."""
        while self.ready:
            slot = self.ready.popleft()
            if slot.drop_at > now:
                return self._grant(slot, holder, now)
        return None

    def _grant(self, slot: Slot, holder: InMemoryConsumer, now: float) -> tuple[str, Slot]:
        assert self.lease is not None, "consume() declares the lease"
        token = f"{self.name}#{next(self._sequence)}"
        slot.deliveries += 1
        slot.holder = holder
        slot.until = now + self.lease
        self.leased[token] = slot
        self._earliest = min(self._earliest, slot.until)
        if self.consumers[-1] is not holder:
            self.consumers.remove(holder)
            self.consumers.append(holder)
        return token, slot

    def defer(self, consumer: InMemoryConsumer) -> None:
        """Tell those whose turn is before that of ``consumer`` to look."""
        for other in self.consumers[: self.consumers.index(consumer)]:
            other.bell.ring()

    def held(self, token: str, now: float) -> Slot | None:
        """The message of this lease, if it has not ended."""
        slot = self.leased.get(token)
        return slot if slot is not None and slot.until > now else None

    def release_all(self, holder: InMemoryConsumer, now: float) -> None:
        """Give back everything ``holder`` has."""
        for token in [token for token, slot in self.leased.items() if slot.holder is holder]:
            self.add(self.leased.pop(token), now, now)

    def count(self) -> int:
        return len(self.ready) + len(self.delayed) + len(self.leased)

    def stats(self, now: float) -> QueueStats:
        self.ripen(now)
        ready = sum(slot.drop_at > now for slot in self.ready)
        return QueueStats(ready, len(self.leased), len(self.delayed), len(self.consumers))


class Broker:
    """Everything one URL and namespace hold. Every public method is safe in any thread."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.entries = Entries(clock)
        self.watchers: dict[str, list[Bell]] = {}
        self.members = 0
        self._queues: dict[str, Queue] = {}
        self._sequence = itertools.count()

    def queue(self, name: str) -> Queue:
        """The queue of this name, made if need be. The caller holds the lock."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(name, self._sequence)
        return queue

    def declare(self, names: Collection[str], lease: float) -> list[Queue]:
        """Fix the lease of these queues, or of none. The caller holds the lock.

        :raises ConfigurationError: one of them has another lease.
        """
        queues = [self.queue(name) for name in names]
        for queue in queues:
            if queue.lease not in (None, lease):
                raise ConfigurationError(
                    f"queue {queue.name!r} has a lease of {queue.lease:g} s, not {lease:g} s: "
                    "all its workers must use the same; set PAIGEANT_LEASE, or `lease` of each Worker"
                )
        for queue in queues:
            queue.lease = lease
        return queues

    def publish(self, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        with self.lock:
            self.entries.check_all(writes)
            self._commit(publications, writes, self.clock.monotonic())

    def settle(self, queue: Queue, token: str, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        with self.lock:
            now = self.clock.monotonic()
            self._check_held(queue, token, now)
            self.entries.check_all(writes)
            del queue.leased[token]
            self._commit(publications, writes, now)

    def release(self, queue: Queue, token: str, delay: float) -> None:
        with self.lock:
            now = self.clock.monotonic()
            self._check_held(queue, token, now)
            queue.add(queue.leased.pop(token), now + delay, now)

    def renew(self, tokens: Collection[str]) -> set[str]:
        with self.lock:
            now = self.clock.monotonic()
            return {token for token in tokens if not self._renew(token, now)}

    def stats(self, names: Collection[str]) -> dict[str, QueueStats]:
        with self.lock:
            now = self.clock.monotonic()
            known = {name: self._queues.get(name) for name in names or self._queues}
            return {name: queue.stats(now) if queue else QueueStats(0, 0, 0, 0) for name, queue in known.items()}

    def ready(self, name: str) -> list[Message]:
        with self.lock:
            return [slot.message for slot in self._ready(name)]

    def purge(self, name: str) -> int:
        with self.lock:
            count = len(self._ready(name))
            if name in self._queues:
                self._queues[name].ready.clear()
            return count

    def changed(self, keys: Collection[str]) -> None:
        """Wake the watchers of these keys. The caller holds the lock."""
        if self.watchers:
            for key in keys:
                for bell in self.watchers.get(key, ()):
                    bell.ring()

    def wake_watchers(self) -> None:
        """Let every watcher look again: its store may be closed now."""
        with self.lock:
            self.changed(list(self.watchers))

    def left_over(self) -> int:
        """Messages in all queues."""
        return sum(queue.count() for queue in self._queues.values())

    def _ready(self, name: str) -> list[Slot]:
        queue, now = self._queues.get(name), self.clock.monotonic()
        if queue is None:
            return []
        queue.ripen(now)
        return [slot for slot in queue.ready if slot.drop_at > now]

    def _check_held(self, queue: Queue, token: str, now: float) -> None:
        if queue.held(token, now) is None:
            raise LeaseLost(f"delivery {token!r} was settled or released, or its lease ended: nothing was changed")

    def _renew(self, token: str, now: float) -> bool:
        queue = self._queues.get(token.rpartition("#")[0])
        slot = queue.held(token, now) if queue else None
        if queue is None or slot is None or queue.lease is None:
            return False
        slot.until = now + queue.lease
        return True

    def _commit(self, publications: Sequence[Publication], writes: Sequence[Write], now: float) -> None:
        for write in writes:
            self.entries.put(write.key, write.value, write.due, write.ttl)
        for publication in publications:
            message = publication.message
            if message.headers:  # the sender may change its dictionary later
                message = Message(message.id, message.body, dict(message.headers))
            drop_at = inf if publication.ttl is None else now + publication.ttl
            self.queue(publication.queue).add(Slot(message, drop_at), now + publication.delay, now)
        if writes:
            self.changed([write.key for write in writes])


class Membership:
    """One instance's place at the broker of its URL and namespace.

    The broker lives from the first ``join`` to the last ``leave`` of its members; its clock is that
    of the first.
    """

    _brokers: dict[tuple[str, str], Broker] = {}  # noqa: RUF012 - process-wide on purpose
    _guard = threading.Lock()

    def __init__(self, url: str, namespace: str, clock: Clock) -> None:
        self.url, self.namespace, self.clock = url, namespace, clock
        self.broker: Broker | None = None

    def join(self) -> None:
        with self._guard:
            if self.broker is None:
                self.broker = self._brokers.setdefault((self.url, self.namespace), Broker(self.clock))
                self.broker.members += 1

    def leave(self) -> None:
        with self._guard:
            broker, self.broker = self.broker, None
            if broker is None:
                return
            broker.wake_watchers()
            broker.members -= 1
            if broker.members:
                return
            del self._brokers[self.url, self.namespace]
        if count := broker.left_over():
            _log.warning(
                "%s (namespace %r) is gone with its last user, and %d unsettled messages with it; "
                "PAIGEANT_TRANSPORT=sqlite keeps them",
                self.url,
                self.namespace,
                count,
            )
