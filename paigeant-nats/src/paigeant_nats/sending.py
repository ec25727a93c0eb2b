"""Publishing: everything is checked, then sent at once, then every confirmation is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from nats.aio.msg import Msg

from paigeant.errors import ConfigurationError, MessageTooLarge
from paigeant.model.message import Publication
from paigeant.model.store import Write

from .codec import (
    CENTURY,
    HEADERS,
    HEADROOM,
    MAX_DELAY,
    MESSAGE_ID,
    NOT_BEFORE,
    TTL,
    encode_headers,
    scheduled,
    whole_seconds,
)
from .errors import Refusal
from .names import message_token, queue_token
from .session import Session

_AT_ONCE = 500


class Outgoing(NamedTuple):
    """A message ready to be sent."""

    subject: str
    body: bytes
    headers: dict[str, str]


class Origin(NamedTuple):
    """The delivery that publications follow."""

    queue: str
    message_id: str
    sequence: int
    size: int


class Sender:
    """Publishes on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def prepare(
        self, publications: Sequence[Publication], writes: Sequence[Write], origin: Origin | None = None
    ) -> list[Outgoing]:
        """Check and encode all; nothing is sent.

        :raises ConfigurationError: writes, or a delay over the limit.
        :raises MessageTooLarge: a message over the server's limit.
        """
        if writes:
            raise ConfigurationError("NATS cannot make store writes part of a publish or settle: put them yourself")
        latest = await self._session.latest() if any(one.delay for one in publications) else 0.0
        return [self._encode(one, origin, latest) for one in publications]

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send; return when all are stored."""
        if len(messages) == 1:
            return await self._send_one(messages[0])
        for start in range(0, len(messages), _AT_ONCE):
            acts = [self._send_one(message) for message in messages[start : start + _AT_ONCE]]
            for end in await asyncio.gather(*acts, return_exceptions=True):
                if isinstance(end, BaseException):
                    raise end
        return None

    def confirm(self, subject: str, answer: Msg) -> None:
        """Read what the server says to a publication.

        :raises Refusal: it was not stored.
        """
        if b'"error"' in answer.data[:16]:
            self._session.api.read(answer, subject)

    async def _send_one(self, message: Outgoing) -> None:
        session = self._session
        try:
            answer = await session.publish(message.subject, message.body, message.headers)
            self.confirm(message.subject, answer)
        except Refusal as exc:
            raise session.api.mapped(exc) from exc

    def _encode(self, publication: Publication, origin: Origin | None, latest: float) -> Outgoing:
        session, message, queue = self._session, publication.message, publication.queue
        again = origin.sequence if origin is not None and (queue, message.id) == origin[:2] else 0
        token = message_token(message.id, again)
        subject = session.names.message(queue, token)
        headers = encode_headers(publication, token)
        headers[MESSAGE_ID] = f"{queue_token(queue)}.{token}"
        if publication.ttl is not None and session.queue_features.ttl:
            headers[TTL] = str(whole_seconds(publication.ttl))
        if publication.delay:
            at = latest + self._check_delay(publication.delay)
            if session.queue_features.schedules:
                headers, subject = scheduled(headers, at, subject), session.names.schedule(queue, token)
            else:
                headers[NOT_BEFORE] = f"{at:.3f}"
        self._check_size(message.body, headers, origin.size if origin is not None else 0)
        return Outgoing(subject, message.body, headers)

    def _check_delay(self, delay: float) -> float:
        most = CENTURY if self._session.queue_features.schedules else MAX_DELAY
        if not 0 < delay <= most:
            where = self._session.link.where
            raise ConfigurationError(f"NATS at {where} cannot delay a message by {delay!r} s, at most by {most:g} s")
        return delay

    def _check_size(self, body: bytes, headers: dict[str, str], received: int) -> None:
        """What was received is passed on as long as the server takes it, whoever sent it with less room for headers."""
        most = self._session.max_payload
        if len(body) <= most - HEADROOM and len(headers.get(HEADERS, "")) < HEADROOM // 2:
            return
        size = len(body) + sum(len(key) + len(value) + 4 for key, value in headers.items()) + 14
        if len(body) > max(most - HEADROOM, received) or size > most:
            raise MessageTooLarge(
                f"a message of {size} bytes: max_payload of NATS at {self._session.link.where} is {most}, of which "
                f"{HEADROOM} are for headers; raise max_payload in the server's configuration, or send less"
            )
