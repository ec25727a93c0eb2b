"""The publishing channel: what is under way on it, until the broker has confirmed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from aiormq.abc import AbstractChannel

from paigeant.errors import MessageTooLarge, OutcomeUnknown, PaigeantError
from paigeant.model.message import Publication

from . import errors, frames
from .line import Line, closing_of
from .link import Link
from .properties import read_properties

_TURNS = 1.0
"""Seconds between looks for confirms that are overdue."""


class Group:
    """The messages of one call, from the moment they are sent until all are confirmed.

    :param then: told once they are: with ``True`` if they are stored, with ``False`` if they are not and the caller,
        who was cancelled, cannot be told. It runs although the caller was cancelled: what is sent cannot be called
        back.
    :param size: of the body that was received and may be passed on: what the broker keeps it takes again, although the
        limit here be lower.
    """

    __slots__ = ("_failure", "_left", "_then", "future", "size", "under_way", "unrouted")

    def __init__(self, then: Callable[[bool], None] | None = None, size: int = 0) -> None:
        self.size = size
        self._then, self._left, self._failure = then, 0, cast("BaseException | None", None)
        self.unrouted: list[Publication] = []
        self.under_way = False
        self.future: asyncio.Future[None]

    @property
    def settles(self) -> bool:
        """Whether something received depends on them."""
        return self._then is not None

    def start(self, number: int) -> None:
        self._left, self._failure, self.unrouted, self.under_way = number, None, [], True
        self.future = asyncio.get_running_loop().create_future()

    def done(self, sent: Sent, failure: BaseException | None = None) -> None:
        """One of them is confirmed, returned or lost."""
        if not isinstance(self._failure, MessageTooLarge):  # which no repeating mends
            self._failure = failure or self._failure
        if sent.returned:
            self.unrouted.append(sent.publication)
        self._left -= 1
        if self._left:
            return
        self.under_way, gone = False, self.future.done()
        stored = self._failure is None and not self.unrouted
        if self._then is not None and (stored or gone):
            self._then(stored)
        if gone:
            return
        if self._failure is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self._failure)


class Sent:
    """One message under way."""

    __slots__ = ("deadline", "group", "key", "publication", "returned")

    def __init__(self, publication: Publication, key: str, group: Group, deadline: float) -> None:
        self.publication, self.key, self.group, self.deadline = publication, key, group, deadline
        self.returned = False


class Outlet:
    """The publishing channel of one line.

    :param ended: told when it is closed.
    """

    def __init__(self, link: Link, line: Line, ended: Callable[[], None]) -> None:
        self._link, self.line, self._where, self._ended = link, line, str(line.address), ended
        self.channel: AbstractChannel | None = None
        self.number = 0
        self._tag, self._closed = 0, False
        self._sent: dict[int, Sent] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        return self.channel is not None and not self._closed and self.line.alive

    async def open(self) -> None:
        self.channel = await self.line.channel(self, confirms=True)
        self.number = self.channel.number
        closing_of(self.channel).add_done_callback(self._on_closing)

    def send(self, sent: Sent, parts: list[bytes]) -> None:
        self._tag += 1
        self._sent[self._tag] = sent
        self.line.wire.send(*parts)
        if self._timer is None:
            self._timer = self._loop.call_later(_TURNS, self._look)

    def on_confirm(self, tag: int, multiple: bool, stored: bool) -> None:
        if not multiple:
            return self._settle(tag, stored)
        for number in [number for number in self._sent if number <= tag]:
            self._settle(number, stored)
        return None

    def on_message(self, method: bytes, header: bytes, body: bytes, returned: bool) -> None:
        """A message that no queue takes; its confirm follows."""
        _, key = frames.read_return(method)
        message_id = read_properties(header).message_id
        for sent in self._sent.values():
            if sent.publication.message.id == message_id and sent.key == key and not sent.returned:
                sent.returned = True
                return

    def on_close(self) -> None:
        """The broker says why through the client library; a lost connection has nothing to say."""
        self._closed = True
        if self.line.wire.lost:
            self.fail(ConnectionError("the connection was lost"))

    def fail(self, exc: BaseException | None) -> None:
        """The channel is gone, with all that was under way."""
        self._closed = True
        self._ended()
        sent, self._sent = self._sent, {}
        reason = exc or ConnectionError("closed")
        for one in sent.values():
            one.group.done(one, errors.publishing(reason, self._where, len(one.publication.message.body)))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settle(self, tag: int, stored: bool) -> None:
        sent = self._sent.pop(tag, None)
        if sent is None:
            return  # given up, for it took too long
        failure = None
        if not stored:
            failure = OutcomeUnknown(
                f"RabbitMQ at {self._where} did not take a message for queue {sent.publication.queue!r} (basic.nack): "
                "the queue is full or has no leader"
            )
        sent.group.done(sent, failure)

    def _look(self) -> None:
        now = self._loop.time()
        for tag, sent in list(self._sent.items()):
            if sent.deadline > now:
                break
            del self._sent[tag]
            sent.group.done(sent, self._overdue())
        self._timer = self._loop.call_later(_TURNS, self._look) if self._sent else None

    def _overdue(self) -> PaigeantError:
        if self._link.blocked is None:
            return errors.calling(TimeoutError(), self._where, "publishing", sent=True)
        return OutcomeUnknown(f"{errors.halted(self._where, self._link.blocked)}; what was sent may be stored then")

    def _on_closing(self, closing: asyncio.Future[object]) -> None:
        self.fail(None if closing.cancelled() else closing.exception())
