"""JetStream's requests, as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

from nats.aio.msg import Msg

from paigeant.errors import BackendCorrupt

from .errors import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, Refusal, number, translate
from .link import Link

_PAGE = 256
_AGAIN = 1.0
SECOND = 1_000_000_000


class Api:
    """The administrative side of JetStream on a link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        domain = link.settings.domain
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"

    async def call(
        self, operation: str, body: Mapping[str, Any] | None = None, *, write: bool = False
    ) -> dict[str, Any]:
        """One request.

        :raises Refusal: the server said no.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        subject = f"{self.prefix}.{operation}"
        answer = await (self.link.request(subject, payload, write=True) if write else self._insist(subject, payload))
        return self.read(answer, subject)

    async def _insist(self, subject: str, payload: bytes) -> Msg:
        """Ask every second until there is an answer: what is asked while a leader is elected nobody ever answers."""
        asked = set[asyncio.Future[Msg]]()
        try:
            while True:
                asked.add(asyncio.ensure_future(self.link.request(subject, payload)))
                done, _ = await asyncio.wait(asked, timeout=_AGAIN, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return min(done, key=lambda request: request.exception() is not None).result()
        finally:
            for request in asked:
                request.cancel()
            await asyncio.gather(*asked, return_exceptions=True)  # they may all have failed, with the connection

    def read(self, answer: Msg, subject: str) -> dict[str, Any]:
        """The JSON of an answer.

        :raises Refusal: it is an error.
        """
        try:
            found: Any = json.loads(answer.data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise BackendCorrupt(f"NATS at {self.link.where} answered {subject} with something that is no JSON object")
        reply = cast("dict[str, Any]", found)
        if isinstance(error := reply.get("error"), dict):
            raise Refusal(cast("dict[str, Any]", error), subject)
        return reply

    def mapped(self, refusal: Refusal) -> Exception:
        """The error of ours for a refusal."""
        return translate(refusal, self.link.where, write=False)

    async def find(self, operation: str) -> dict[str, Any] | None:
        """An INFO request; ``None`` if there is no such stream or consumer."""
        try:
            return await self.call(operation)
        except Refusal as exc:
            if exc.code in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
                return None
            raise self.mapped(exc) from exc

    async def count(self, stream: str, subjects: str) -> int:
        """How many subjects of the stream match: as many as there are messages, if each has its own."""
        try:  # an offset beyond the end: the server counts, and sends no list
            found = await self.call(f"STREAM.INFO.{stream}", {"subjects_filter": subjects, "offset": 2**40})
        except Refusal as exc:
            if exc.code == STREAM_NOT_FOUND:
                return 0
            raise self.mapped(exc) from exc
        return number(found.get("total"))

    async def subjects(self, stream: str, matching: str, *, most: int | None = None) -> list[str]:
        """The subjects of the stream that match.

        :param most: stop after about as many.
        """
        found: list[str] = []
        while True:
            try:
                body = {"subjects_filter": matching, "offset": len(found)}
                answer = await self.call(f"STREAM.INFO.{stream}", body)
            except Refusal as exc:
                raise self.mapped(exc) from exc
            state = cast("dict[str, Any]", answer.get("state") or {})
            page = cast("dict[str, int]", state.get("subjects") or {})
            found += page
            if not page or len(found) >= number(answer.get("total")) or (most is not None and len(found) >= most):
                return found

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        """What there is to know of all consumers of the stream."""
        found: list[dict[str, Any]] = []
        while True:
            try:
                answer = await self.call(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
            except Refusal as exc:
                raise self.mapped(exc) from exc
            page = cast("list[dict[str, Any]]", answer.get("consumers") or [])
            found += page
            if (len(page) < _PAGE and len(found) >= number(answer.get("total"))) or not page:
                return found
