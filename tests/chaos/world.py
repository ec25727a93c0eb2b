"""A small world of the hop protocol: real protocols, sweeper, store and queues; time and trouble are chosen."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar, cast

from paigeant.abc import Consumer, Delivery
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.envelope import CONTENT_TYPE, Opened
from paigeant.errors import BackendError, BackendUnavailable, ForkDetected, OutcomeUnknown, RevisionConflict
from paigeant.model.message import Message, Publication
from paigeant.model.store import ABSENT, KEEP, Entry
from paigeant.plugins.settings import CoreSettings
from paigeant.runtime.claim import Claim
from paigeant.runtime.environment import Environment
from paigeant.runtime.moving import make_move
from paigeant.runtime.notifier import Notifier
from paigeant.runtime.protocol import Commit, protocol_for
from paigeant.runtime.sweeper import Sweeper
from paigeant.state.cursor import Cursor, State
from paigeant.state.ids import BranchKeys

from ..core.records_kit import NOW, Values, dispatched, done, signed

T = TypeVar("T")

LEASE = 30.0
EXPIRES = NOW + 3600
QUEUES = ("a", "b", "c")


class Crash(BaseException):
    """The process that was doing this is no more."""


class Clock:
    """Time that passes only while somebody sleeps or ``now`` is moved."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, delay: float) -> None:
        self.now += delay

    @asynccontextmanager
    async def timeout(self, delay: float | None) -> AsyncIterator[None]:
        yield


class Trouble:
    """Strikes at the ``at``-th call to the backend from now on; once."""

    KINDS = ("unavailable", "unknown, not done", "unknown, done", "crash before", "crash after")

    def __init__(self) -> None:
        self.at, self.kind = -1, ""

    def plan(self, trouble: tuple[int, str] | None) -> None:
        self.at, self.kind = trouble or (-1, "")

    async def strike(self, call: Callable[[], Awaitable[T]]) -> T:
        self.at -= 1
        if self.at != -1:
            return await call()
        if self.kind == "unavailable":
            raise BackendUnavailable(self.kind)
        if self.kind == "unknown, not done":
            raise OutcomeUnknown(self.kind)
        if self.kind == "crash before":
            raise Crash
        await call()
        if self.kind == "crash after":
            raise Crash
        raise OutcomeUnknown(self.kind)


class World:
    """One workflow of three steps, in one mode, with two workers."""

    def __init__(self, mode: Literal["shared", "separate"]) -> None:
        self.mode, self.clock, self.trouble = mode, Clock(), Trouble()
        self.held: list[Claim] = []
        self.landed: list[Cursor] = []
        """Every cursor that was ever stored, in order."""

    async def open(self) -> None:
        security = signed()
        chain = [await dispatched(security)]
        for _ in QUEUES:
            chain.append(await done(chain[-1], security))
        self.chain = chain
        self.bodies = {opened.body: opened for opened in chain}
        self.keys = BranchKeys.of("w-1")
        name = secrets.token_hex(4)
        self.transport = InMemoryTransport(f"inmemory://{name}", clock=self.clock)
        await self.transport.connect()
        store = self.transport.state_store()
        if self.mode == "separate":
            store = InMemoryStore(f"inmemory://{name}-state", clock=self.clock)
            await store.connect()
        self.store = store
        self._intercept()
        self.env = Environment(
            transport=self.transport,
            store=self.store,
            mode=self.mode,
            security=security,
            codecs=Values().codecs,
            settings=CoreSettings(),
            registry=cast("Any", None),  # what a plugin is called does not matter here
            clock=self.clock,
            notifier=Notifier((), self.clock),
        )
        self.protocol = protocol_for(self.env, LEASE)
        self.sweeper = Sweeper(self.env, self.store)
        self.entered = self.transport.consume(QUEUES, lease=LEASE)
        self.consumer: Consumer = await self.entered.__aenter__()

    async def close(self) -> None:
        await self.entered.__aexit__(None, None, None)
        await self.transport.purge("a")
        if self.mode == "separate":
            await self.store.disconnect()
        await self.transport.disconnect()

    def _intercept(self) -> None:
        """Let trouble strike every call, and note every cursor that lands."""
        for backend, name in [(self.store, "put"), (self.store, "get"), (self.transport, "publish")]:
            setattr(backend, name, self._troubled(getattr(backend, name)))

    def _troubled(self, method: Any) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            async def noted() -> Any:
                result = await method(*args, **options)
                if method.__name__ == "put" and args[0] == self.keys.cursor and args[1] is not KEEP:
                    self.landed.append(Cursor.decode(args[1]))
                self._note(options.get("writes", ()))
                return result

            return await self.trouble.strike(noted)

        return call

    def _note(self, writes: Sequence[Any]) -> None:
        self.landed.extend(Cursor.decode(write.value) for write in writes if write.key == self.keys.cursor)

    async def cursor(self) -> tuple[Cursor | None, Entry | None]:
        self.trouble.plan(None)
        entry = await self.store.get(self.keys.cursor)
        return (Cursor.decode(entry.value) if entry else None), entry

    # What may happen.

    async def surviving(self, act: Awaitable[Any]) -> Any:
        """The result, or ``None`` if the process that did it crashed or gave up."""
        try:
            return await act
        except (Crash, BackendError):
            return None
        finally:
            self.trouble.plan(None)

    async def dispatch(self) -> None:
        first = self.chain[0]
        move = self.env.rules.start(
            head=first.head, queue="a", body=first.body, content="c", exp=EXPIRES, now=self.env.now()
        )
        try:
            await make_move(self.env, self.store, self.keys, move, ABSENT)
        except RevisionConflict:
            return  # the same again

    async def receive(self, wait: float = 0.0) -> None:
        """:param wait: the worker that receives it does not serve it."""
        stats = await self.transport.queues(*QUEUES)
        if not any(each.ready for each in stats.values()):
            return
        (delivery,) = await self.consumer.receive(1)
        claim = await self.surviving(self._claim(Troubled(delivery, self), wait))
        if claim is not None:
            self.held.append(claim)

    async def _claim(self, delivery: Delivery, wait: float) -> Claim | None:
        opened = self.bodies[delivery.message.body]
        if self.clock.now > EXPIRES + self.env.security.skew:  # refused before anybody looks at the cursor
            await delivery.settle()
            return None
        try:
            return await self.protocol.claim(delivery, opened, self.keys, wait=wait)
        except ForkDetected:
            raise AssertionError("a fork, where everybody signs the same") from None

    async def commit(self, claim: Claim) -> None:
        self.held.remove(claim)
        await self._move(claim, self.protocol.commit(claim, Commit(self.chain[claim.seq + 1])))

    async def retry(self, claim: Claim, delay: float) -> None:
        self.held.remove(claim)
        await self._move(claim, self.protocol.retry(claim, delay, counted=True))

    async def park(self, claim: Claim) -> None:
        self.held.remove(claim)
        await self._move(claim, self.protocol.park(claim, "exhausted"))

    async def release(self, claim: Claim) -> None:
        self.held.remove(claim)
        await self._move(claim, self.protocol.release(claim))

    async def _move(self, claim: Claim, act: Awaitable[Any]) -> None:
        """A move of a claim; nobody moves a hop that another claim owns."""
        before = list(self.landed)
        await self.surviving(act)
        if len(self.landed) > len(before) and before[-1].state is State.RUNNING:
            assert before[-1].owner == claim.cursor.owner, "a stale claim moved the hop of another"

    async def renew(self, claim: Claim) -> None:
        if self.mode == "shared":
            await self.transport.renew([claim.delivery.lease_token])
            return
        due = self.env.now() + LEASE
        try:
            claim.revision = await self.store.put(self.keys.cursor, KEEP, expected=claim.revision, due=due)
        except RevisionConflict:
            return

    async def resume(self) -> None:
        cursor, entry = await self.cursor()
        if cursor is not None and entry is not None and cursor.parked:
            move = self.env.rules.resume(cursor, self.env.now())
            await self.surviving(make_move(self.env, self.store, self.keys, move, entry.revision))

    async def sweep(self) -> None:
        await self.surviving(self.sweeper.sweep())

    async def lose_messages(self) -> None:
        for queue in QUEUES:
            await self.transport.purge(queue)

    async def copy_message(self, seq: int) -> None:
        """Somebody sends an old, or the present, message again, by hand."""
        opened: Opened = self.chain[seq]
        copy = Message(secrets.token_hex(4), opened.body, {"content-type": CONTENT_TYPE})
        await self.trouble_free_publish(Publication(QUEUES[seq], copy))

    async def trouble_free_publish(self, publication: Publication) -> None:
        self.trouble.plan(None)
        await self.transport.publish(publication)

    async def reachable(self) -> bool:
        """Whether somebody or something will go on with this workflow."""
        cursor, entry = await self.cursor()
        assert cursor is not None
        assert entry is not None
        if cursor.state is State.ENDED or cursor.parked or (entry.due is not None and cursor.out):
            return True  # a due alone only ends it when it has expired
        stats = await self.transport.queues(QUEUES[cursor.seq])
        return any(each.ready or each.in_flight or each.delayed for each in stats.values())


class Troubled(Delivery):
    """A delivery whose settling may meet trouble."""

    def __init__(self, inner: Delivery, world: World) -> None:
        self.inner, self.world = inner, world
        self.queue, self.message = inner.queue, inner.message
        self.deliveries, self.lease_token = inner.deliveries, inner.lease_token

    async def settle(self, *publications: Publication, writes: Sequence[Any] = ()) -> None:
        async def noted() -> None:
            await self.inner.settle(*publications, writes=writes)
            self.world._note(writes)

        await self.world.trouble.strike(noted)

    async def release(self, delay: float = 0.0) -> None:
        await self.inner.release(delay)
