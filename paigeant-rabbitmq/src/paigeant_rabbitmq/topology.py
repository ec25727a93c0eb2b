"""What is declared on the broker, and how it is named.

``paigeant.<namespace>.<queue>`` are queues of messages; names with ``:`` are ours, since no queue of a user has one.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from paigeant.errors import ConfigurationError, PaigeantError

from . import errors
from .channels import on_a_channel
from .delays import BUCKETS
from .link import Link
from .settings import RabbitMQSettings

T = TypeVar("T")

NEVER_BY_THE_BROKER = 1_000_000
"""Deliveries after which the broker drops a message. RabbitMQ 4 would after 20; here the core decides."""
_READERS = 3600.0
"""Seconds without a consumer that a queue survives which a reply made before its reader: as long as readers ask for."""
_OF_READERS = {"x-expires", "x-consumer-timeout"}
"""Arguments that only those who receive have to agree on."""
_MOST_KNOWN = 10_000
_LONGEST_NAME = 127
_LEASE = re.compile(r"current is '[^']*:lease=(?P<seconds>[^']*)'")


class Topology:
    """Names, arguments, and what is known to exist.

    :param link: whose channels declare. Users without the right to configure can work with queues that somebody else
        has made.
    :param known: what is known to exist, shared between the links of a transport.
    """

    def __init__(self, link: Link, settings: RabbitMQSettings, known: dict[str, None]) -> None:
        self._link, self._settings, self._known = link, settings, known
        self._prefix = f"paigeant.{settings.namespace}"
        self._entities: dict[str, str] = {}
        self._declaring: dict[str, asyncio.Future[None]] = {}

    # -- names

    def queue(self, name: str) -> str:
        found = self._entities.get(name)
        if found is None:
            found = _fitting(f"{self._prefix}.{name}")
            if len(self._entities) < _MOST_KNOWN:
                self._entities[name] = found
        return found

    def bucket(self, milliseconds: int) -> str:
        """The exchange and the queue of a delay."""
        return f"{self._prefix}:wait-{self._settings.queue_type}.{milliseconds}"

    @property
    def _due(self) -> str:
        """The exchange through which messages leave the buckets."""
        return f"{self._prefix}:due-{self._settings.queue_type}"

    @property
    def _strays(self) -> str:
        """The exchange and the queue of those that it routes nowhere, as their queue is gone.

        One more bucket, the shortest, that leads to the default exchange. RabbitMQ holds 32 dead letters of a bucket
        until a queue takes them, and lets no other out: here they block nobody else.
        """
        return f"{self._prefix}:stray-{self._settings.queue_type}"

    def knows(self, entity: str) -> bool:
        return entity in self._known

    def forget(self, entity: str) -> None:
        """It turned out to be gone."""
        self._known.pop(entity, None)

    def forget_buckets(self) -> None:
        """They may be gone: a missing exchange ends the channel that publishes to it, and never says so otherwise."""
        for name in (self._strays, *map(self.bucket, BUCKETS)):
            self.forget(name)

    # -- declarations

    async def ensure_queue(self, name: str, ttl: float | None) -> None:
        """Make the queue if it is missing; one with ``ttl`` only for a while (see T28).

        :raises ConfigurationError: it exists and is of another kind.
        """
        await self._once(self.queue(name), lambda: self._publish_queue(self.queue(name), ttl))

    async def _publish_queue(self, entity: str, ttl: float | None) -> None:
        if ttl is not None:  # what is published meanwhile has a time of its own
            return await self._passive_first(entity, self._work(max(2 * ttl, _READERS)))
        try:
            await self._work_queue(entity)
        except ConfigurationError as exc:
            if errors.differing(exc.__cause__) not in _OF_READERS:
                raise
        return None

    async def ensure_bucket(self, milliseconds: int) -> None:
        """Make the exchange and the queue of a delay if they are missing, and what its messages leave through."""
        await self._once(self._strays, self._make_way_out)
        name = self.bucket(milliseconds)
        await self._once(name, lambda: self._make_bucket(name, self._bucket(milliseconds, self._due)))

    async def _make_way_out(self) -> None:
        await self._make_bucket(self._strays, self._bucket(BUCKETS[0], ""))
        await self._may_make_exchange(self._due, self._declare_due)

    async def _make_bucket(self, name: str, arguments: dict[str, Any]) -> None:
        await self._passive_first(name, arguments)
        if await self._may_make_exchange(
            name, lambda c: c.exchange_declare(name, exchange_type="fanout", durable=True)
        ):
            await self._call(lambda c: c.queue_bind(name, name), f"binding of {name!r}")

    async def consume_queue(self, name: str, expires: float | None) -> None:
        """Make the queue if it is missing, and see that it is of the configured kind.

        :raises ConfigurationError: it exists with other arguments.
        """
        entity = self.queue(name)
        if expires is not None:
            await self._passive_first(entity, self._work(max(expires, 1.0)))
        else:
            await self._work_queue(entity)
        self._note(entity)

    async def _work_queue(self, entity: str) -> None:
        """One call makes it, or compares it; without the right to that, another sees that somebody else has made it."""
        try:
            await self._declare(entity, self._work(None))
        except ConfigurationError as exc:
            if not isinstance(exc.__cause__, ChannelAccessRefused):
                raise
            await self._passive_first(entity, self._work(None))
        await self._join(entity)

    async def _join(self, entity: str) -> None:
        """Let what is due come straight to a queue. Without the right to that it comes with the strays, if need be."""

        async def join(channel: AbstractChannel) -> None:
            await self._declare_due(channel)
            await channel.queue_bind(entity, self._due, entity)

        try:
            await self._call(join, f"binding of {entity!r}")
        except ConfigurationError as exc:
            if not isinstance(exc.__cause__, ChannelAccessRefused):
                raise

    async def _declare_due(self, channel: AbstractChannel) -> None:
        await channel.exchange_declare(
            self._due, exchange_type="direct", durable=True, arguments={"alternate-exchange": self._strays}
        )

    async def _may_make_exchange(self, name: str, declare: Callable[[AbstractChannel], Awaitable[object]]) -> bool:
        """Make it if it is missing. Without the right to that: ``False``, if somebody else has made it."""
        what = f"exchange {name!r}"
        try:
            await self._call(declare, what)
        except ConfigurationError as exc:
            refused = isinstance(exc.__cause__, ChannelAccessRefused)
            if not refused or await self._look(lambda c: c.exchange_declare(name, passive=True), what) is None:
                raise
            return False
        return True

    async def keep_lease(self, name: str, lease: float) -> None:
        """Store the lease beside the queue, or compare it with the stored one (T21).

        A queue has no place for it. An exchange that routes nothing does: RabbitMQ compares its alternate exchange.

        :raises ConfigurationError: another lease is stored.
        """
        entity = _fitting(f"{self._prefix}:lease.{name}")
        arguments = {"alternate-exchange": f"{self._prefix}:lease={lease:g}"}
        try:
            await self._call(
                lambda c: c.exchange_declare(
                    entity, exchange_type="fanout", durable=True, internal=True, arguments=dict(arguments)
                ),
                f"exchange {entity!r}",
            )
        except PaigeantError as exc:
            if isinstance(exc.__cause__, ChannelAccessRefused):
                return  # we may not make exchanges: nothing to compare with, and nothing depends on it here
            if isinstance(exc.__cause__, ChannelPreconditionFailed) and (found := _LEASE.search(str(exc.__cause__))):
                raise ConfigurationError(
                    f"queue {name!r} has a lease of {found['seconds']} s, not {lease:g} s: all its consumers must use "
                    f"one; set PAIGEANT_LEASE={found['seconds']}, or delete exchange {entity!r} while no worker runs"
                ) from exc.__cause__
            raise

    # -- arguments

    def _work(self, expires: float | None) -> dict[str, Any]:
        settings = self._settings
        arguments: dict[str, Any] = {
            "x-queue-type": settings.queue_type,
            "x-consumer-timeout": int(settings.consumer_timeout * 1000),
        }
        if settings.queue_type == "quorum":
            arguments["x-delivery-limit"] = NEVER_BY_THE_BROKER
        if expires is not None:
            arguments["x-expires"] = min(math.ceil(expires * 1000), 2**32 - 1)
        return arguments

    def _bucket(self, milliseconds: int, out: str) -> dict[str, Any]:
        """No ``x-expires``: it would take messages with it. No routing key: each message keeps its own."""
        arguments: dict[str, Any] = {
            "x-queue-type": self._settings.queue_type,
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": out,
        }
        if self._settings.queue_type == "quorum":
            arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        return arguments

    # -- calls

    async def _once(self, entity: str, declare: Callable[[], Awaitable[None]]) -> None:
        """Concurrent calls share one declaration; one that is cancelled leaves it to the others."""
        if entity in self._known:
            return
        running = self._declaring.get(entity)
        if running is None:
            running = self._declaring[entity] = asyncio.ensure_future(declare())
            running.add_done_callback(lambda done: self._declared(entity, done))
        await asyncio.shield(running)

    def _declared(self, entity: str, done: asyncio.Future[None]) -> None:
        self._declaring.pop(entity, None)
        if not done.cancelled() and done.exception() is None:
            self._note(entity)

    def _note(self, entity: str) -> None:
        if len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[entity] = None

    async def _passive_first(self, entity: str, arguments: dict[str, Any]) -> None:
        if await self.find(entity) is not None:
            return
        try:
            await self._declare(entity, arguments)
        except ConfigurationError as exc:
            made = isinstance(exc.__cause__, ChannelPreconditionFailed)
            if not made or await self.find(entity) is None:  # somebody else was quicker, with another expiry
                raise

    async def find(self, entity: str) -> tuple[int, int] | None:
        """``(ready messages, consumers)`` of a queue; ``None`` if it does not exist."""
        found = await self._look(lambda c: c.queue_declare(entity, passive=True), f"queue {entity!r}")
        return None if found is None else (found.message_count or 0, found.consumer_count or 0)

    async def _look(self, call: Callable[[AbstractChannel], Awaitable[T]], what: str) -> T | None:
        """The answer of a passive declaration; ``None`` if there is nothing."""
        try:
            return await self._call(call, f"looking at {what}")
        except PaigeantError as exc:
            if errors.missing(exc.__cause__):
                return None
            raise

    async def _declare(self, entity: str, arguments: dict[str, Any]) -> None:
        await self._call(
            lambda c: c.queue_declare(entity, durable=True, arguments=dict(arguments)), f"declaring queue {entity!r}"
        )

    async def _call(self, call: Callable[[AbstractChannel], Awaitable[T]], what: str) -> T:
        line = await self._link.line(self._settings.timeout)
        return await on_a_channel(line, call, what, self._settings.timeout)


def _fitting(name: str) -> str:
    """Long names end in a digest: the client library takes 127 characters."""
    return (
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 33]}:{sha256(name.encode()).hexdigest()[:32]}"
    )
