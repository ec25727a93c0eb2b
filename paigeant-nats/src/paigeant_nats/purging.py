"""Purging a queue: what nobody holds is received and acknowledged."""

from __future__ import annotations

import asyncio
import json
import secrets

from nats.aio.msg import Msg

from paigeant.abc import see_through
from paigeant.errors import BackendUnavailable

from .api import SECOND
from .codec import early, is_tombstone, not_before
from .names import queue_token
from .session import Session


class Purge:
    """Takes what is ready, in batches, until there is nothing.

    :param batch: messages asked for at once.
    """

    def __init__(self, session: Session, queue: str, batch: int) -> None:
        self._session, self._batch = session, batch
        self._inbox = f"{session.settings.inbox_prefix}.{secrets.token_hex(11)}"
        self._subject = f"{session.api.prefix}.CONSUMER.MSG.NEXT.{session.names.queues}.{queue_token(queue)}"
        self._acks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()
        self._status = ""
        self._got = self._count = 0

    async def run(self) -> int:
        """Return how many there were. Cancelled, it first ends the batch under way: nothing stays leased to nobody."""
        subscriber = await self._session.link.subscribe(self._inbox, self._came)
        try:
            while True:
                taking = asyncio.ensure_future(self._take_some())
                try:
                    more = await asyncio.shield(taking)
                except asyncio.CancelledError:
                    await see_through(taking)
                    raise
                if not more:
                    return self._count
        finally:
            await self._session.link.unsubscribe(subscriber)

    async def _take_some(self) -> bool:
        """One batch; whether there may be more."""
        link = self._session.link
        self._ended.clear()
        self._got = 0
        await link.send(self._subject, json.dumps({"batch": self._batch, "no_wait": True}).encode(), self._inbox)
        try:
            async with asyncio.timeout(self._session.settings.timeout):
                await self._ended.wait()
        except TimeoutError as exc:
            raise BackendUnavailable(f"NATS at {link.where} did not answer in time (PAIGEANT_NATS_TIMEOUT)") from exc
        finally:
            acks, self._acks = self._acks, []
            ends = await asyncio.gather(*acks, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        if self._status:
            raise BackendUnavailable(f"NATS at {link.where} refused {self._subject}: {self._status}")
        return self._got >= self._batch

    def _came(self, msg: Msg) -> None:
        if msg.reply:
            self._got += 1
            self._acks.append(asyncio.create_task(self._take(msg)))
        elif (headers := msg.headers or {}).get("Status") not in {"404", "408"}:
            self._status = headers.get("Description", "") or "no reason told"
        if not msg.reply or self._got >= self._batch:
            self._ended.set()

    async def _take(self, msg: Msg) -> None:
        ahead = early(not_before(msg.headers), self._session.clock())
        if ahead > 0:  # delayed: it stays
            await self._session.link.request(msg.reply, b'-NAK {"delay": %d}' % int(ahead * SECOND), write=True)
            return
        await self._session.link.request(msg.reply, write=True)
        self._count += not is_tombstone(msg)
