"""Reading and compare-and-set of single entries."""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, cast

from paigeant.errors import BackendError, MessageTooLarge, OutcomeUnknown

from .codec import EXPECTED, HEADROOM, TTL, whole_seconds
from .errors import NO_MESSAGE, WRONG_LAST_SEQUENCE, Refusal
from .hints import hint_subject
from .session import Session
from .values import DELETED, OVERHEAD, Stored, decode, encode

_REMEMBERED = 10_000
_MARKER_TTL = "120"


_SEQUENCE = re.compile(rb'\{"stream":"[^"]*", ?"seq":(\d+)\}')


def _sequence(answer: bytes) -> int:
    """Of the plain confirmation that nearly every answer is; 0 for any other."""
    found = _SEQUENCE.fullmatch(answer)
    return int(found[1]) if found is not None else 0


class Mismatch(Exception):
    """A write met another revision; nothing was changed."""


class Entries:
    """The entries of a namespace.

    Every entry with a due time has a hint at that time or before it. A write that moves ``due`` later
    therefore needs no new one; any other is preceded by its hint, on the same connection.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dues: OrderedDict[str, tuple[int, float | None]] = OrderedDict()

    async def read(self, key: str) -> Stored:
        """What is stored: the last completed write."""
        session = self._session
        subject = session.names.entry(key)
        if session.state_features.direct:
            stored = await self._read_directly(key, f"{session.api.prefix}.DIRECT.GET.{session.names.state}.{subject}")
        else:
            stored = await self._read_from_leader(key, subject)
        if self._dues.get(key) != (stored.revision, None):  # there may be no hint, whatever its due
            self._remember(key, stored.revision, stored.due)
        return stored

    async def write(self, key: str, value: bytes, expected: int | None, due: float | None, ttl: float | None) -> int:
        """Store; return the revision.

        :param expected: sequence of the last message under that key, 0 if there is none; ``None`` is any.
        :raises Mismatch: there is another.
        """
        session = self._session
        self._check_size(value)
        end = None if ttl is None else await session.latest() + ttl
        headers = {TTL: str(whole_seconds(ttl))} if ttl is not None and session.state_features.ttl else {}
        write = self._publish(key, encode(value, due, end), expected, headers)
        if due is not None and not self._has_hint(key, expected, due):
            revision = await self._after_hint(key, hint_subject(session, key, due), write)
        else:
            revision = await write
        self._remember(key, revision, due)
        return revision

    async def delete(self, key: str, expected: int | None) -> None:
        """Put a mark in the place of the entry.

        :raises Mismatch: see ``write``.
        """
        headers = {TTL: _MARKER_TTL} if self._session.state_features.ttl else {}
        await self._publish(key, DELETED, expected, headers)
        self._dues.pop(key, None)

    async def _after_hint(self, key: str, subject: str, write: Coroutine[Any, Any, int]) -> int:
        """Both are sent at once, in this order: the hint may be in vain, but it is never missing."""
        session = self._session
        hint = asyncio.ensure_future(session.publish(subject))
        entry = asyncio.ensure_future(write)
        try:
            await asyncio.wait([hint, entry])
            revision, told = entry.result(), hint.result()
            if b'"error"' in told.data[:16]:
                session.api.read(told, subject)
        except (BackendError, Refusal) as exc:
            if not entry.done() or entry.exception() is not None:
                raise
            self._remember(key, entry.result(), None)  # so that the next write files it, whoever reads meanwhile
            raise OutcomeUnknown(f"{key!r} was stored, and not when it is due: {exc}") from exc
        finally:
            for one in (hint, entry):
                if not one.cancel() and not one.cancelled():
                    one.exception()  # seen
        return revision

    async def _publish(self, key: str, body: bytes, expected: int | None, headers: dict[str, str]) -> int:
        session = self._session
        subject = session.names.entry(key)
        if expected is not None:
            headers[EXPECTED] = str(expected)
        try:
            answer = await session.publish(subject, body, headers or None)
            return _sequence(answer.data) or int(session.api.read(answer, subject)["seq"])
        except Refusal as exc:
            if exc.code == WRONG_LAST_SEQUENCE:
                raise Mismatch from exc
            raise session.api.mapped(exc) from exc

    async def _read_directly(self, key: str, subject: str) -> Stored:
        msg = await self._session.link.request(subject)
        headers = msg.headers or {}
        sequence = headers.get("Nats-Sequence", "")
        if sequence.isdigit():
            return decode(msg.data, int(sequence), key)
        if headers.get("Status") == "404":
            return Stored(0)
        raise BackendError(f"NATS at {self._session.link.where} answered {subject} with {headers.get('Status')}")

    async def _read_from_leader(self, key: str, subject: str) -> Stored:
        api = self._session.api
        operation = f"STREAM.MSG.GET.{self._session.names.state}"
        try:
            found = cast("dict[str, Any]", (await api.call(operation, {"last_by_subj": subject}))["message"])
        except Refusal as exc:
            if exc.code == NO_MESSAGE:
                return Stored(0)
            raise api.mapped(exc) from exc
        return decode(b64decode(found.get("data") or ""), int(found["seq"]), key)

    def _has_hint(self, key: str, expected: int | None, due: float) -> bool:
        revision, known = self._dues.get(key, (0, None))
        return expected == revision > 0 and known is not None and due >= known

    def _remember(self, key: str, revision: int, due: float | None) -> None:
        self._dues[key] = revision, due
        self._dues.move_to_end(key)
        if len(self._dues) > _REMEMBERED:
            self._dues.popitem(last=False)

    def _check_size(self, value: bytes) -> None:
        most = self._session.max_payload - HEADROOM - OVERHEAD
        if len(value) > most:
            raise MessageTooLarge(
                f"a value of {len(value)} bytes; max_payload of NATS at {self._session.link.where} allows {most}; "
                "raise it in the server's configuration, or store less"
            )
