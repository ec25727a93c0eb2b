"""The queues of the stream: their consumers on the server, counts, looking and purging."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from nats.aio.msg import Msg

from paigeant.errors import BackendError, ConfigurationError
from paigeant.model.message import Message, QueueStats

from .api import SECOND
from .codec import CENTURY, is_tombstone, read_message
from .errors import CONSUMER_EXISTS, NO_MESSAGE, STREAM_NOT_FOUND, Refusal, number, table
from .names import queue_of, queue_token
from .purging import Purge
from .session import Session

_WAITING = 4096
_BATCH = 256
_MOST = 10_000
"""Messages asked for at once, where the server sets no limit."""


class Queues:
    """What can be asked of queues without receiving from them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def declare(self, queue: str, lease: float, expires: float | None) -> int:
        """Make the durable consumer of a queue, or see that it has this lease (T21): it is its ``ack_wait``.

        :return: how many messages may be asked for at once.
        :raises ConfigurationError: the queue has another lease, or its consumer would lose messages.
        """
        found = None if expires is not None else await self._consumer(queue)  # a reply queue is new, as a rule
        found = found or await self._make(queue, lease, expires)
        config = table(found.get("config"))
        stored = number(config.get("ack_wait")) / SECOND
        if abs(stored - lease) > 1e-6:
            raise self._unfit(queue, f"has a lease of {stored:g} s, not {lease:g} s; set PAIGEANT_LEASE={stored:g}, or")
        wanted = {"ack_policy": "explicit", "filter_subject": self._session.names.messages(queue), "max_deliver": -1}
        wanted |= dict.fromkeys(("deliver_subject", "headers_only"))
        for key, needed in wanted.items():
            if (config.get(key) or None) != needed:
                raise self._unfit(queue, f"has a consumer with {key}={config.get(key)!r}, which loses messages;")
        return number(config.get("max_batch")) or _MOST

    def _unfit(self, queue: str, why: str) -> ConfigurationError:
        where, stream = self._session.link.where, self._session.names.queues
        remedy = f"delete its consumer: `nats consumer rm {stream} {queue_token(queue)}`"
        return ConfigurationError(f"queue {queue!r} at NATS {where} {why} {remedy}")

    async def _make(self, queue: str, lease: float, expires: float | None) -> dict[str, Any]:
        session, names = self._session, self._session.names
        config: dict[str, Any] = {
            "durable_name": queue_token(queue),
            "filter_subject": names.messages(queue),
            "deliver_policy": "all",
            "replay_policy": "instant",
            "ack_policy": "explicit",
            "ack_wait": int(lease * SECOND),
            "max_deliver": -1,
            "max_ack_pending": session.settings.max_ack_pending,
            "max_waiting": _WAITING,
        }
        if expires is not None:
            config["inactive_threshold"] = int(min(max(expires, 1.0), CENTURY) * SECOND)
            config["mem_storage"] = True  # its messages are in the stream; who owns them need not outlive the server
        operation = f"CONSUMER.DURABLE.CREATE.{names.queues}.{queue_token(queue)}"
        body = {"stream_name": names.queues, "action": "create", "config": config}
        try:
            return await session.api.call(operation, body, write=True)
        except Refusal as exc:
            if exc.code in CONSUMER_EXISTS and (found := await self._consumer(queue)) is not None:
                return found
            if exc.code == STREAM_NOT_FOUND:
                session.mend()
            raise session.api.mapped(exc) from exc

    async def forget(self, queue: str) -> None:
        """Remove the consumer of a reply queue; its messages stay for their ``ttl``."""
        names = self._session.names
        with contextlib.suppress(BackendError, Refusal):
            await self._session.api.call(f"CONSUMER.DELETE.{names.queues}.{queue_token(queue)}", write=True)

    async def _consumer(self, queue: str) -> dict[str, Any] | None:
        return await self._session.api.find(f"CONSUMER.INFO.{self._session.names.queues}.{queue_token(queue)}")

    async def stats(self, *names: str) -> dict[str, QueueStats]:
        """See ``Transport.queues``."""
        if names:
            found = await asyncio.gather(*map(self._consumer, names))
            return dict(zip(names, await asyncio.gather(*map(self._stats, names, found)), strict=True))
        api, stream = self._session.api, self._session.names.queues
        consumers = {info["name"]: info for info in await api.consumers(stream)}
        start = len(self._session.names.prefix) + 3
        subjects = await api.subjects(stream, f"{self._session.names.prefix}.*.>", most=1)
        tokens = dict.fromkeys([*consumers, *(subject[start:].partition(".")[0] for subject in subjects)])
        counted = await asyncio.gather(*(self._stats(queue_of(token), consumers.get(token)) for token in tokens))
        return dict(zip(map(queue_of, tokens), counted, strict=True))

    async def _stats(self, queue: str, consumer: dict[str, Any] | None) -> QueueStats:
        session = self._session
        api, names = session.api, session.names
        delayed = await api.count(names.queues, names.schedules(queue)) if session.queue_features.schedules else None
        if consumer is None:  # nobody ever received from it
            return QueueStats(await api.count(names.queues, names.messages(queue)), 0, delayed, 0)
        leased, waiting = number(consumer.get("num_ack_pending")), number(consumer.get("num_waiting"))
        # A request that waits is a consumer; a consumer that is busy has none waiting, and cannot be seen.
        return QueueStats(number(consumer.get("num_pending")), leased, delayed, waiting or None)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        """See ``Transport.peek``; shows leased ones, too."""
        session, found, after = self._session, list[Message](), 1
        start = len(session.names.message(queue, ""))
        while len(found) < limit and (msg := await self._next(queue, after)) is not None:
            headers = msg.headers or {}
            after = int(headers["Nats-Sequence"]) + 1
            if not is_tombstone(msg):
                found.append(read_message(msg, headers["Nats-Subject"][start:]))
        return found

    async def _next(self, queue: str, after: int) -> Msg | None:
        session = self._session
        body = json.dumps({"seq": after, "next_by_subj": session.names.messages(queue)}).encode()
        subject = f"{session.api.prefix}.DIRECT.GET.{session.names.queues}"
        msg = await session.link.request(subject, body)
        headers = msg.headers or {}
        if "Nats-Sequence" in headers:  # any other header is the message's own
            return msg
        if (status := headers.get("Status")) == "404":
            return None
        raise session.api.mapped(Refusal({"err_code": NO_MESSAGE, "description": f"status {status}"}, subject))

    async def purge(self, queue: str) -> int:
        """See ``Transport.purge``: what nobody holds is received and acknowledged."""
        session, names = self._session, self._session.names
        if (found := await self._consumer(queue)) is None:
            try:
                body = {"filter": names.messages(queue)}
                return number((await session.api.call(f"STREAM.PURGE.{names.queues}", body, write=True)).get("purged"))
            except Refusal as exc:
                raise session.api.mapped(exc) from exc
        most = number(table(found.get("config")).get("max_batch")) or _BATCH
        return await Purge(session, queue, min(most, _BATCH)).run()
