"""Transports with one deliberate fault each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, ClassVar

from paigeant.abc import Consumer, Delivery, StateStore
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendClosed, BackendError, ConfigurationError, LeaseLost, MessageTooLarge
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding, Severity
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import ANY, Entry, Write

from .proxies import DECLARED, ProxyConsumer, ProxyTransport
from .virtual import LoopClock

SOON = 0.01


# --- publishing


class LosesMessages(ProxyTransport):
    """Sends only the first eight messages of a call."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*publications[:8], writes=writes)


class SendsTwice(ProxyTransport):
    """A client library that repeats a write by itself."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*publications, writes=writes)
        await self.inner.publish(*publications)


class SendsLater(ProxyTransport):
    """Returns from publish before anything is sent, and forgets the rest at disconnect."""

    def __init__(self, namespace: str, inner: InMemoryTransport | None = None) -> None:
        super().__init__(namespace, inner)
        self.tasks: set[asyncio.Task[None]] = set()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        _ = self.inner.broker
        await self.inner.publish(writes=writes)

        async def send() -> None:
            await asyncio.sleep(SOON)
            await self.inner.publish(*publications)

        task = asyncio.create_task(send())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def disconnect(self) -> None:
        for task in self.tasks:
            task.cancel()
        await super().disconnect()


class IgnoresDelay(ProxyTransport):
    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*(p._replace(delay=0) for p in publications), writes=writes)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*(p._replace(delay=0) for p in publications), writes=writes)


class ForgetsDelayed(ProxyTransport):
    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*(p for p in publications if not p.delay), writes=writes)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*(p for p in publications if not p.delay), writes=writes)


class DelaysEverything(ProxyTransport):
    """One delayed message holds up those behind it."""

    latest = 0.0

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self.latest = max([self.latest, *(p.delay for p in publications)])
        await self.inner.publish(*(p._replace(delay=self.latest) for p in publications), writes=writes)


class WritesApart(ProxyTransport):
    """Writes one after the other, then publishes or settles."""

    async def _write(self, writes: Sequence[Write]) -> None:
        store = self.inner.state_store()
        for w in writes:
            await store.put(w.key, w.value, expected=w.expected, due=w.due, ttl=w.ttl)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self._write(writes)
        await self.inner.publish(*publications)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await self._write(writes)
        await delivery.settle(*publications)


class DropsWrites(ProxyTransport):
    """Cannot write, and does not say so."""

    declares = replace(DECLARED, atomic_writes=False)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*publications)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*publications)


class ChecksSizeTooLate(ProxyTransport):
    """Notices a message over the limit when those before it are sent, and acknowledged what was received."""

    declares = replace(DECLARED, max_message=1000, max_delay=100.0)

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        for publication in publications:
            if len(publication.message.body) > 1000:
                raise MessageTooLarge("too large")
            if publication.delay > 100:
                raise ConfigurationError("too late")
            await self.inner.publish(publication)
        await self.inner.publish(writes=writes)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(writes=writes)
        await self.publish(*publications)


class PromisesDeduplication(ProxyTransport):
    declares = replace(DECLARED, dedup_window=60.0)


class DropsRepeats(ProxyTransport):
    """Deduplicates without declaring it."""

    def __init__(self, namespace: str, inner: InMemoryTransport | None = None) -> None:
        super().__init__(namespace, inner)
        self.sent: set[tuple[str, str]] = set()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        for publication in publications:
            name = publication.queue, publication.message.id
            if name not in self.sent:
                self.sent.add(name)
                await self.inner.publish(publication)
        await self.inner.publish(writes=writes)


class KeepsDictionary(ProxyTransport):
    """Lends its dictionary of headers to the receiver as it got it from the sender."""

    lent: ClassVar[dict[str, Any]] = {}

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self.lent.update({p.message.id: p.message.headers for p in publications})
        await self.inner.publish(*publications, writes=writes)

    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        message = delivery.message
        wrapped.message = Message(message.id, message.body, self.lent.get(message.id, message.headers))
        return wrapped


class CleansHeaders(ProxyTransport):
    """Takes headers for HTTP."""

    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        message = delivery.message
        wrapped.message = Message(message.id, message.body, {k: v.strip() for k, v in message.headers.items() if v})
        return wrapped


class MixesQueues(ProxyTransport):
    """Writes ``.`` as ``-``."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        renamed = (p._replace(queue=p.queue.replace(".", "-")) for p in publications)
        await self.inner.publish(*renamed, writes=writes)


class SharesNamespaces(ProxyTransport):
    def __init__(self, namespace: str, inner: InMemoryTransport | None = None) -> None:
        super().__init__(
            namespace, inner or InMemoryTransport(namespace=namespace.removesuffix("-b"), clock=LoopClock())
        )


class NeedsItsQueueFirst(ProxyTransport):
    """Drops what is published to a queue nobody has consumed from."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        stats = await self.inner.queues()
        known = [p for p in publications if p.queue in stats]
        await self.inner.publish(*known, writes=writes)


class SeesNoArrivals(ProxyTransport):
    """Looks once a minute whether there is something."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    return await consumer.receive(limit)
            await asyncio.sleep(60)


# --- receiving and leases


class AcknowledgesOnReceive(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found = await consumer.receive(limit)
        for delivery in found:
            await delivery.settle()
        return found

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await self.inner.publish(*publications, writes=writes)

    async def release(self, delivery: Delivery, delay: float) -> None:
        await self.inner.publish(Publication(delivery.queue, delivery.message, delay))


class SharesLeases(ProxyTransport):
    """Every consumer receives a copy."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found = await consumer.receive(limit)
        for delivery in found:
            if len(found) < 5 and not delivery.message.headers.get("copy"):
                copy = Message(delivery.message.id, delivery.message.body, {"copy": "1"})
                await self.inner.publish(Publication(delivery.queue, copy))
        return found


class LeasesForEver(ProxyTransport):
    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with self.inner.consume(queues, lease=lease * 1e6) as consumer:
            yield ProxyConsumer(self, consumer)


class LeasesTooShort(ProxyTransport):
    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with self.inner.consume(queues, lease=lease / 2) as consumer:
            yield ProxyConsumer(self, consumer)


class ForgetsTheLease(ProxyTransport):
    """Lets every consumer have its own."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        with self.inner.broker.lock:
            for queue in queues:
                self.inner.broker.queue(queue).lease = None
        async with self.inner.consume(queues, lease=lease) as consumer:
            yield ProxyConsumer(self, consumer)


class ForgetsWhoLeft(ProxyTransport):
    """Acknowledges at exit what was not settled."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        held: list[Delivery] = []
        async with self.inner.consume(queues, lease=lease) as consumer:

            class Noting(ProxyConsumer):
                async def receive(self, limit: int) -> list[Delivery]:
                    found = await super().receive(limit)
                    held.extend(found)
                    return found

            yield Noting(self, consumer)
            for delivery in held:
                with suppress(BackendError):
                    await delivery.settle()


class ReceivesAfterLeaving(ProxyTransport):
    """Keeps its consumers open until disconnect."""

    def __init__(self, namespace: str, inner: InMemoryTransport | None = None) -> None:
        super().__init__(namespace, inner)
        self.stack = AsyncExitStack()

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        consumer = await self.stack.enter_async_context(self.inner.consume(queues, lease=lease))
        yield ProxyConsumer(self, consumer)

    async def disconnect(self) -> None:
        await self.stack.aclose()
        await super().disconnect()


class IgnoresTheLimit(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        return await consumer.receive(limit + 5)


class WaitsForMore(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        try:
            async with asyncio.timeout(30):
                while len(found) < limit:
                    found += await consumer.receive(limit - len(found))
        except asyncio.CancelledError:
            for delivery in found:
                await delivery.release()
            raise
        except TimeoutError:
            pass
        return found or await consumer.receive(limit)


class PrefersOneQueue(ProxyTransport):
    """Looks into the next queue only when the first is empty."""

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with AsyncExitStack() as stack:
            consumers = [await stack.enter_async_context(self.inner.consume([q], lease=lease)) for q in queues]
            yield ProxyConsumer(self, consumers[0] if len(consumers) == 1 else _InOrder(consumers))


class _InOrder(Consumer):
    def __init__(self, consumers: list[Any]) -> None:
        self.consumers = consumers

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            for consumer in self.consumers:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SOON):
                        return await consumer.receive(limit)


class SwallowsCancellation(ProxyTransport):
    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        while True:
            with suppress(asyncio.CancelledError):
                return await consumer.receive(limit)


class LosesWhatIsCancelled(ProxyTransport):
    """Takes messages, then hesitates before it returns them."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        found = await consumer.receive(limit)
        await asyncio.sleep(0.002)
        return found


class FetchesWhenCancelled(ProxyTransport):
    """A cancelled receive goes on in the background, for nobody."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        async def fetch() -> list[Delivery]:
            try:
                return await consumer.receive(limit)
            except BackendClosed:
                return []

        return await asyncio.shield(asyncio.create_task(fetch())) or await consumer.receive(limit)


class WakesForNobodysLease(ProxyTransport):
    """A waiting receive does not notice that a lease ends; a new one does."""

    async def receive(self, consumer: Any, limit: int) -> list[Delivery]:
        while True:
            consumer.bell.mute()
            deliveries, _ = consumer._take(limit)
            if deliveries:
                return deliveries
            await consumer.bell.wait(LoopClock(), None)


class CountsFromOne(ProxyTransport):
    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        wrapped.deliveries = 1
        return wrapped


class RenewsNothing(ProxyTransport):
    async def renew(self, tokens: Collection[str]) -> set[str]:
        await self.inner.renew([])
        return set()


class RaisesForLostTokens(ProxyTransport):
    async def renew(self, tokens: Collection[str]) -> set[str]:
        lost = await self.inner.renew(tokens)
        if lost:
            raise LeaseLost("lost")
        return lost


class LosesWithoutRenewal(ProxyTransport):
    """Not renewable, and says that everything is lost."""

    declares = replace(DECLARED, renewable=False)

    async def renew(self, tokens: Collection[str]) -> set[str]:
        await self.inner.renew([])
        return set(tokens)


# --- settling


class AcknowledgesFirst(ProxyTransport):
    """Acknowledges, then publishes."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle()
        await self.inner.publish(*publications, writes=writes)


class PublishesFirst(ProxyTransport):
    """Publishes, then acknowledges, and says that is one act."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await self.inner.publish(*publications, writes=writes)
        await delivery.settle()


class ForgetsToAcknowledge(ProxyTransport):
    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        if await self.inner.renew([delivery.lease_token]):
            raise LeaseLost("lost")
        await self.inner.publish(*publications, writes=writes)


class ForgetsSuccessors(ProxyTransport):
    """Publishes the first successor only."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await delivery.settle(*publications[:1], writes=writes)


class AcceptsStaleSettles(ProxyTransport):
    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        try:
            await delivery.settle(*publications, writes=writes)
        except LeaseLost:
            await self.inner.publish(*publications, writes=writes)


class AcceptsStaleReleases(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        try:
            await delivery.release(delay)
        except LeaseLost:
            await self.inner.publish(Publication(delivery.queue, delivery.message, delay))


class TearsSettles(ProxyTransport):
    """Publishes and acknowledges in two steps; a cancellation fits between."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        if await self.inner.renew([delivery.lease_token]):
            raise LeaseLost("lost")
        await delivery.settle(writes=writes)
        await asyncio.sleep(0)
        await self.inner.publish(*publications)


class TearsPublish(ProxyTransport):
    """A cancelled publish breaks the instance."""

    broken = False

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        if self.broken:
            raise BackendClosed("stuck in a publish")
        self.broken = True
        await asyncio.sleep(0)
        self.broken = False
        await self.inner.publish(*publications, writes=writes)


class ReleasesByLosing(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.settle()


class ReleasesAtOnce(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.release()


class ReleasesChanged(ProxyTransport):
    async def release(self, delivery: Delivery, delay: float) -> None:
        changed = Message(delivery.message.id, delivery.message.body, {"released": "yes"})
        await delivery.settle(Publication(delivery.queue, changed, delay))


class TearsReleases(ProxyTransport):
    """Acknowledges and publishes again in two steps; a cancellation fits between."""

    async def release(self, delivery: Delivery, delay: float) -> None:
        await delivery.settle()
        await asyncio.sleep(0)
        await self.inner.publish(Publication(delivery.queue, delivery.message, delay))


# --- lifecycle


class CountsConnects(ProxyTransport):
    count = 0

    async def connect(self) -> None:
        self.count += 1
        await self.inner.connect()

    async def disconnect(self) -> None:
        self.count -= 1
        if self.count <= 0:
            await self.inner.disconnect()


class ConnectsOnce(ProxyTransport):
    used = False

    async def connect(self) -> None:
        if self.used:
            raise BackendClosed("used up")
        await self.inner.connect()

    async def disconnect(self) -> None:
        self.used = self.used or self.inner._membership.broker is not None
        await self.inner.disconnect()


class ConnectsItself(ProxyTransport):
    """Connects on first use."""

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.connect()
        await self.inner.publish(*publications, writes=writes)


class StaysOpen(ProxyTransport):
    """``async with`` forgets to disconnect."""

    async def __aexit__(self, *exc: object) -> None:
        pass


class LeavesReceiversWaiting(ProxyTransport):
    """Disconnect does not wake who waits."""

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        try:
            return await consumer.receive(limit)
        except BackendClosed:
            await asyncio.Event().wait()
            raise


class TearsConnect(ProxyTransport):
    """A connect cancelled half-way leaves the instance in between."""

    half = False

    async def connect(self) -> None:
        if self.half:
            raise RuntimeError("connecting")
        self.half = True
        await asyncio.sleep(0)
        await self.inner.connect()
        self.half = False


class LeaksDriverErrors(ProxyTransport):
    """Cannot be reached, and raises what its client library raises."""

    unreachable = True

    async def connect(self) -> None:
        if self.namespace == "unreachable":
            raise ConnectionRefusedError("driver")
        await self.inner.connect()


class KeepsCancelledConsumers(ProxyTransport):
    """A consumer cancelled while it waits goes on receiving."""

    def __init__(self, namespace: str, inner: InMemoryTransport | None = None) -> None:
        super().__init__(namespace, inner)
        self.tasks: set[asyncio.Task[list[Delivery]]] = set()

    async def receive(self, consumer: Consumer, limit: int) -> list[Delivery]:
        try:
            return await consumer.receive(limit)
        except asyncio.CancelledError:
            own = self.inner.consume(["work"], lease=60.0)
            task = asyncio.create_task((await own.__aenter__()).receive(limit))
            self.tasks.add(task)
            raise

    async def disconnect(self) -> None:
        for task in self.tasks:
            task.cancel()
        await super().disconnect()


# --- inspecting


class CountsLeasedAsReady(ProxyTransport):
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        found = await self.inner.queues(*names)
        return {name: replace(s, ready=s.ready + (s.in_flight or 0)) for name, s in found.items()}


class OmitsMissingQueues(ProxyTransport):
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        known = await self.inner.queues()
        return {name: stats for name, stats in known.items() if not names or name in names}


class ListsHalf(ProxyTransport):
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        found = await self.inner.queues(*names)
        return found if names else dict(list(found.items())[:1])


class PeeksByTaking(ProxyTransport):
    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        found = await self.inner.peek(queue, limit)
        await self.inner.purge(queue)
        return found


class PeeksNewestFirst(ProxyTransport):
    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        return (await self.inner.peek(queue, 1000))[::-1][:limit]


class PurgesEverything(ProxyTransport):
    async def purge(self, queue: str) -> int:
        broker = self.inner.broker
        with broker.lock:
            gone = broker.queue(queue)
            count = gone.count()
            for part in (gone.ready, gone.delayed, gone.leased):
                part.clear()
        return count


class PurgesEveryNamespace(ProxyTransport):
    """Purges by name alone."""

    async def purge(self, queue: str) -> int:
        other = InMemoryTransport(namespace=self.namespace.removesuffix("-b"), clock=LoopClock())
        async with other:
            return await other.purge(queue)


class TellsTexts(ProxyTransport):
    """Its diagnosis is text."""

    async def diagnose(self) -> list[Any]:
        _ = self.inner.broker
        return ["all is well"]


class TellsNothing(ProxyTransport):
    """A finding without words."""

    async def diagnose(self) -> list[Finding]:
        _ = self.inner.broker
        return [Finding(Severity.OK, "version", "")]


class ProbesByPublishing(ProxyTransport):
    """Tries whether it can publish, and leaves that behind."""

    async def diagnose(self) -> list[Finding]:
        await self.inner.publish(Publication("probe", Message("probe", b"")))
        return []


class ProbesByReceiving(ProxyTransport):
    """Tries whether it can receive, and has no use for what it gets."""

    async def diagnose(self) -> list[Finding]:
        async with self.inner.consume(["work"], lease=60.0) as consumer:
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    for delivery in await consumer.receive(1):
                        await delivery.settle()
        return []


class DiagnosesUnconnected(ProxyTransport):
    """Takes it that there is a connection."""

    async def diagnose(self) -> list[Finding]:
        assert self.inner._membership.broker is not None
        return []


class DropsLeftReplies(ProxyTransport):
    """Deletes a reply queue, with what comes later, as soon as its consumer leaves."""

    def __init__(self, namespace: str, inner: InMemoryTransport | None = None) -> None:
        super().__init__(namespace, inner)
        self.dropped: set[str] = set()

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        await self.inner.publish(*(p for p in publications if p.queue not in self.dropped), writes=writes)

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        async with super().consume(queues, lease=lease) as consumer:
            yield consumer
        self.dropped.update(queues if expires is not None else ())


class DropsConsumedReplies(ProxyTransport):
    """Takes ``expires`` for the age of a queue."""

    ends: ClassVar[dict[tuple[str, str], float]] = {}

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        now = asyncio.get_running_loop().time()
        live = [p for p in publications if self.ends.get((self.namespace, p.queue), now) >= now]
        await self.inner.publish(*live, writes=writes)

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator[Consumer]:
        if expires is not None:
            end = asyncio.get_running_loop().time() + expires
            self.ends.update({(self.namespace, queue): end for queue in queues})
        async with super().consume(queues, lease=lease) as consumer:
            yield consumer


class ClosesWithItsStore(ProxyTransport):
    def state_store(self) -> StateStore | None:
        outer = self

        class Store(InMemoryStore):
            async def disconnect(self) -> None:
                await outer.disconnect()

        return Store(of=self.inner._membership)


class HasAnotherStore(ProxyTransport):
    """Its store is not the one that writes change."""

    def __init__(self, namespace: str, inner: InMemoryTransport | None = None) -> None:
        super().__init__(namespace, inner)
        self.other = InMemoryTransport(f"inmemory://{id(self)}", namespace=namespace, clock=LoopClock())

    async def connect(self) -> None:
        await self.other.connect()
        await super().connect()

    async def disconnect(self) -> None:
        await self.other.disconnect()
        await super().disconnect()

    def state_store(self) -> StateStore | None:
        return self.other.state_store()


class HasNoStore(ProxyTransport):
    """Declares atomic writes without a store."""

    def state_store(self) -> StateStore | None:
        return None


class HasABlindStore(ProxyTransport):
    """Watchers do not notice writes that ride along."""

    def state_store(self) -> StateStore | None:
        class Store(InMemoryStore):
            async def watch(self, key: str) -> AsyncGenerator[Entry | None]:
                yield await self.get(key)
                await asyncio.Event().wait()

        return Store(of=self.inner._membership)


class ReusesTokens(ProxyTransport):
    """The lease token names the queue, not the lease."""

    def wrap(self, delivery: Delivery) -> Delivery:
        wrapped = super().wrap(delivery)
        wrapped.lease_token = delivery.queue
        return wrapped


class Overpromises(ProxyTransport):
    """Declares that its memory is durable."""

    declares = replace(DECLARED, durable=True)


class AllowsTwoOwners(ProxyTransport):
    """Whoever settles first wins, without a compare-and-set."""

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        await asyncio.sleep(0)
        await delivery.settle(*publications, writes=[w._replace(expected=ANY) for w in writes])


class Modest(ProxyTransport):
    """Can do little and says so: no fault at all."""

    declares = Capabilities()

    def _check(self, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        _ = self.inner.broker
        if writes or any(p.delay for p in publications):
            raise ConfigurationError("cannot do that")

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        self._check(publications, writes)
        await self.inner.publish(*publications)

    async def settle(self, delivery: Delivery, publications: Sequence[Publication], writes: Sequence[Write]) -> None:
        self._check(publications, writes)
        await delivery.settle(*publications)

    async def renew(self, tokens: Collection[str]) -> set[str]:
        await self.inner.renew([])
        return set()

    def state_store(self) -> StateStore | None:
        return None


DOUBLES: list[type[ProxyTransport]] = [
    cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, ProxyTransport) and cls is not ProxyTransport
]
