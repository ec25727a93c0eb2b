"""The transport contract: queues of messages with leases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

from ..model.capabilities import Capabilities
from ..model.finding import Finding
from ..model.message import Message, Publication, QueueStats
from ..model.store import Write

if TYPE_CHECKING:
    from types import TracebackType

    from .store import StateStore

Scope: TypeAlias = Literal["process", "host", "network"]


class Transport(ABC):
    """Queues on one backend. One instance serves one event loop.

    Rules for every method:

    * **T01** ``connect`` and ``disconnect`` are idempotent; ``async with`` calls both; an instance can be
      connected again after ``disconnect``.
    * **T02** Before ``connect`` and after ``disconnect`` every other method raises ``BackendClosed``; a connect that
      is under way when ``disconnect`` is called may, too, and leaves nothing open.
    * **T03** No error of the client library crosses this boundary: it becomes a ``BackendError`` (or
      ``ConfigurationError``) raised ``from`` the original. ``OutcomeUnknown`` is distinct from failure.
    * **T04** Cancelling any call leaves the instance usable, and no delivery leased to nobody.
    * **T05** No call retries a write by itself: a repeat is the caller's, with the same message id.
    * **T06** Queue names are taken as they come (``[a-z0-9][a-z0-9._-]{0,104}``), never interpreted; every
      key or queue on the backend carries ``namespace``, so two namespaces never see each other.
    """

    scope: ClassVar[Scope]
    """``process``: lives and dies with it; ``host``: files of one machine; ``network``: a server."""

    namespace: str = "default"
    """Set by the factory from its settings."""

    data_directory: Path | None = None
    """Scope ``host``: the directory that holds the data; keys of the host are kept beside it."""

    location: str | None = None
    """Where the data is, for people: an absolute path, or an address without credentials."""

    loopback: bool = False
    """Scope ``network``: every address is a loopback one. Known once connected."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this backend can do with its settings. Read after ``connect``."""

    @abstractmethod
    async def connect(self) -> None:
        """Open the backend.

        :raises BackendUnavailable: it is not reached.
        :raises BackendCorrupt: its data is damaged or not ours.
        :raises ConfigurationError: the settings are wrong.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Close it. Deliveries still held stay leased until their lease ends or are freed at once."""

    @abstractmethod
    def clone(self) -> Self:
        """A new, unconnected instance on the same backend with the same settings.

        The heartbeat thread uses one, so that a busy event loop cannot lose a lease.
        """

    @abstractmethod
    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """Send messages.

        * **T10** Durable (if the backend is) when it returns; on error any subset may have arrived.
        * **T11** A missing queue is created; start order never matters. Messages of one queue without
          delay are received in about the order they were published (a MAY: never rely on it).
        * **T12** A delayed message is not received before its time, and soon after (within 1 s) it is.
        * **T13** With ``atomic_writes``: writes and publications are one act; without: a non-empty
          ``writes`` raises ``ConfigurationError``.
        * **T14** A body over ``capabilities.max_message`` raises ``MessageTooLarge``; a delay over
          ``capabilities.max_delay`` raises ``ConfigurationError``; nothing is sent.
        * **T15** With ``dedup_window``, a second message of the same id and queue within it is dropped
          without an error; without, every publish adds a message.

        :raises RevisionConflict: a write met another revision; nothing was done.
        :raises OutcomeUnknown: it may have arrived.
        """

    @abstractmethod
    def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AbstractAsyncContextManager[Consumer]:
        """Receive from several queues.

        * **T20** Each message is leased to one consumer at a time, for ``lease`` seconds from receipt
          or from the last renewal; then it may be received again, by anyone.
        * **T21** The lease is a property of the queue: the first to declare it stores it; consuming with
          another value raises ``ConfigurationError``. So does consuming from no queue, or with a ``lease`` or
          ``expires`` that is no positive, finite number of seconds (``check_consume``).
        * **T22** Leaving the context stops receiving: what is published from then on, by anyone, goes to others.
          Deliveries not settled by then are released or keep their lease, and are never lost.
        * **T23** When a consumer's process dies, its deliveries come back: at the latest when their
          lease ends.
        * **T28** With ``expires`` these queues serve one process (a reply address): one that had no
          consumer for that many seconds may be dropped by the backend, with what is in it, and never
          earlier. A backend on which an empty queue costs nothing may keep it.
        """

    @abstractmethod
    async def renew(self, tokens: Collection[str]) -> set[str]:
        """Extend the leases of these deliveries (``Delivery.lease_token``) by the full lease again.

        * **T30** Returns the tokens that are no longer owned. Never raises for them.
        * **T31** Any instance on the same backend may renew, also from another thread with its own loop.
        * **T32** Without ``renewable`` it returns an empty set while the connection lives.
        """

    @abstractmethod
    async def queues(self, *names: str) -> dict[str, QueueStats]:
        """**T40** Statistics of these queues (a missing one counts zero); without names: of all there are.

        :raises ConfigurationError: called without names, and this backend cannot list its queues; an empty
            answer says that there are none.
        """

    @abstractmethod
    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        """**T41** Up to ``limit`` messages, oldest first, ready ones at least, without leasing them."""

    @abstractmethod
    async def purge(self, queue: str) -> int:
        """**T42** Delete the ready messages of ``queue`` (leased and delayed ones stay); return how many."""

    @abstractmethod
    def state_store(self) -> StateStore | None:
        """The store on the same backend, sharing this instance's connection; ``None`` if it has none.

        **T50** With ``atomic_writes`` its entries are what ``writes`` change. It needs no ``connect`` of its
        own; closing it does not close the transport.
        """

    async def diagnose(self) -> list[Finding]:
        """What an operator should know of this backend: version, durability, rights, limits, clock.

        **T44** Reads only; connected. What the server refuses to tell is a finding, not an error.
        Default: nothing to say.
        """
        return []

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.disconnect()


class Consumer(ABC):
    """Receives from the queues it was opened for."""

    @abstractmethod
    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for messages.

        * **T24** Returns at least one and at most ``limit`` deliveries, without waiting for more. A ``limit`` below 1
          raises ``ConfigurationError`` (``check_limit``).
        * **T25** No queue starves: each non-empty queue is served again and again. No consumer starves: a message that
          one puts back, with a delay, reaches the others that wait, too.
        * **T26** A cancelled call leaves nothing leased (what it had taken is released).
        * **T27** A message published by another process is seen soon (within 1 s), without busy polling.

        :raises BackendClosed: the consumer or the transport was closed while waiting.
        """


class Delivery(ABC):
    """One receipt of a message: the only thing that can be settled."""

    __slots__ = ()

    queue: str
    message: Message
    deliveries: int | None
    """How often this message was received, this time included; ``None`` where unknown."""
    lease_token: str

    @abstractmethod
    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """Publish successors and acknowledge.

        * **T60** With ``atomic_settle`` it is one act, and raises ``LeaseLost`` for a consumer that no
          longer owns the delivery; otherwise successors are stored first, then it is acknowledged.
        * **T61** A settled message is never received again. Settling twice raises ``LeaseLost``.
        * **T62** With ``atomic_writes``: all of it or nothing, then ``LeaseLost`` or ``RevisionConflict``.
          After ``RevisionConflict`` the delivery is still owned and can be settled otherwise.
        * **T63** The rules of ``publish`` hold (T10 to T15). A body no larger than the received one SHOULD
          pass if the backend takes it, although a limit of this instance be lower: else refusing it loses it.
        """

    @abstractmethod
    async def release(self, delay: float = 0.0) -> None:
        """Give it back unharmed, to be received again after ``delay`` seconds.

        * **T64** Never earlier than ``delay``; the message keeps id, headers and body.
        * **T65** Raises ``LeaseLost`` if it is no longer owned.
        """
