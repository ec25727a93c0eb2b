"""Settling in one act: an atomic batch of the successors and of a tombstone in the place of the message.

The tombstone expects the message to be the last of its subject, which is its own: of several owners one
succeeds, and the others learn it. Batches cost the server a sync of its file, so settles share them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from paigeant.abc import Batcher
from paigeant.errors import BackendError, LeaseLost

from .codec import EXPECTED, TOMBSTONE, TTL
from .delivery import NatsDelivery, SuccessorsFirst
from .errors import DUPLICATE_IN_BATCH, WRONG_LAST_SEQUENCE, Refusal
from .sending import Outgoing, Sender
from .session import Session

_MOST = 800
"""Messages of one batch; the server takes 1000."""


class _Settlement(NamedTuple):
    """A delivery with its successors; ``tombstone`` takes its place."""

    delivery: NatsDelivery
    successors: Sequence[Outgoing]

    @property
    def tombstone(self) -> Outgoing:
        headers = {EXPECTED: str(self.delivery.sequence), TTL: "1", TOMBSTONE: "1"}
        return Outgoing(self.delivery.subject, b"", headers)


class OneAct:
    """Settles by atomic batches."""

    def __init__(self, session: Session) -> None:
        self._session, self._sender = session, Sender(session)
        self._batcher: Batcher[_Settlement, None] = Batcher(self._commit, max_items=200)

    async def settle(self, delivery: NatsDelivery, successors: Sequence[Outgoing]) -> None:
        if not delivery.subject.isprintable():  # a foreigner's, and no text: nothing can be put in its place
            return await SuccessorsFirst(self._session).settle(delivery, successors)
        await self._batcher.submit(_Settlement(delivery, successors))
        return None

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._batcher.close()

    async def _commit(self, items: Sequence[_Settlement]) -> Sequence[BaseException | None]:
        results: list[BaseException | None] = []
        start = 0
        while start < len(items):
            end, size = start, 0
            while end < len(items) and (end == start or size + len(items[end].successors) < _MOST):
                size += len(items[end].successors) + 1
                end += 1
            results += await self._attempt(items[start:end])
            start = end
        return results

    async def _attempt(self, items: Sequence[_Settlement]) -> list[BaseException | None]:
        """All in one batch; if the server refuses that, halves, until it is known whose fault it is."""
        owned = [item for item in items if item.delivery.lease]
        if len(owned) < len(items):
            ends = dict(zip(map(id, owned), await self._attempt(owned) if owned else [], strict=True))
            return [ends[id(item)] if id(item) in ends else _lost(item) for item in items]
        try:
            await self._send([message for item in items for message in (*item.successors, item.tombstone)])
        except Refusal as exc:
            if len(items) > 1:
                middle = len(items) // 2
                return [*await self._attempt(items[:middle]), *await self._attempt(items[middle:])]
            return [await self._alone(items[0], exc)]
        except BackendError as exc:
            return [exc] * len(items)
        return [None] * len(items)

    async def _alone(self, item: _Settlement, refusal: Refusal) -> BaseException | None:
        if refusal.code == WRONG_LAST_SEQUENCE:
            return _lost(item)
        if refusal.code != DUPLICATE_IN_BATCH:
            return self._session.api.mapped(refusal)
        try:  # a successor was stored before: the others first, each once, then the tombstone
            await self._sender.send(item.successors)
            await self._send([item.tombstone])
        except Refusal as exc:
            return _lost(item) if exc.code == WRONG_LAST_SEQUENCE else self._session.api.mapped(exc)
        except BackendError as exc:
            return exc
        return None

    async def _send(self, messages: Sequence[Outgoing]) -> None:
        link, last = self._session.link, messages[-1]
        headers = last.headers
        if len(messages) > 1:
            batch = secrets.token_hex(12)
            for number, (subject, body, own) in enumerate(messages[:-1], 1):
                await link.send(subject, body, headers={**own, **_place(batch, number)})
            headers = {**headers, **_place(batch, len(messages)), "Nats-Batch-Commit": "1"}
        answer = await link.request(last.subject, last.body, headers, write=True)
        self._sender.confirm(last.subject, answer)


def _place(batch: str, number: int) -> dict[str, str]:
    return {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}


def _lost(item: _Settlement) -> LeaseLost:
    return LeaseLost(f"delivery {item.delivery.lease.reply} is not owned any more; nothing was changed")
