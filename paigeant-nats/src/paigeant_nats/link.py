"""The connection: opened promptly or not at all, kept for ever, with any number of requests in flight."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from paigeant.errors import BackendClosed, BackendError, BackendUnavailable, ConfigurationError

from .aio import see_through
from .errors import cannot_connect, forbidden, is_telling, translate
from .login import client_options, insist, make_context
from .settings import NatsSettings

log = logging.getLogger("paigeant.nats")

_LOOK = 0.25
_RETRY = 0.5
_CLOSE_WITHIN = 2.0
_DENIED = re.compile(r'permissions violation for publish to "([^"]*)"')

Handler = Callable[[Msg], None]


@dataclass(slots=True)
class Subscriber:
    """A subject listened to, on this connection and on those that follow it."""

    subject: str
    handler: Handler
    current: Subscription | None = None


class Link:
    """A connection of nats-py under supervision. Serves one event loop.

    All answers come to one inbox; a request is a future in a table, and one timer for all of them tells
    which are late. While the connection is down requests are refused at once, and nothing is buffered.

    :param on_down: called when the connection is lost.
    :param on_up: called when it stands again.
    """

    def __init__(self, settings: NatsSettings) -> None:
        self.settings, self.servers = settings, settings.servers
        self.where = self.servers.shown
        self.on_down: list[Callable[[], None]] = []
        self.on_up: list[Callable[[], None]] = []
        self._client: Client | None = None
        self._subscribers: list[Subscriber] = []
        self._waiting: dict[str, tuple[asyncio.Future[Msg], float, str, bool]] = {}
        self._serial = 0
        self._inbox = ""
        self._timer: asyncio.TimerHandle | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._open = False

    async def open(self) -> None:
        """Connect.

        :raises BackendUnavailable: no server is reached.
        :raises ConfigurationError: the login is refused, or TLS does not fit.
        """
        self._inbox = f"{self.settings.inbox_prefix}.{secrets.token_hex(11)}."
        self._subscribers = [Subscriber(self._inbox + "*", self._answered)]
        try:
            self._client = await self._connect()
        except BaseException:
            self._subscribers.clear()
            raise
        self._open = True

    async def close(self) -> None:
        """Flush and close; all who wait get ``BackendClosed``."""
        self._open = False
        self._fail(lambda _: BackendClosed(f"the connection to NATS at {self.where} was closed"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        client, self._client = self._client, None
        task, self._reopening = self._reopening, None
        if task is not None:
            task.cancel()
            await see_through(task)
        if client is not None:
            await see_through(_close(client))

    @property
    def client(self) -> Client:
        """The client, if it can be used now.

        :raises BackendClosed: not connected, or closed.
        :raises BackendUnavailable: the connection is down, for now.
        """
        client = self._client
        if client is None:
            raise BackendClosed(f"not connected to NATS at {self.where}: call connect(), or use 'async with'")
        if not client.is_connected:
            raise BackendUnavailable(f"NATS at {self.where} is out of reach; reconnecting")
        return client

    @property
    def is_up(self) -> bool:
        return self._client is not None and self._client.is_connected

    def check(self) -> None:
        """Raise ``BackendClosed`` unless open."""
        if not self._open:
            raise BackendClosed(f"not connected to NATS at {self.where}: call connect(), or use 'async with'")

    async def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, *, write: bool = False
    ) -> Msg:
        """Send, and wait for the answer.

        :param write: it changes something: no answer means that nobody knows whether it did.
        :raises BackendUnavailable: it was not sent, nobody listens there, or (unless ``write``) no answer came.
        :raises OutcomeUnknown: no answer came to a write.
        """
        client, loop = self.client, asyncio.get_running_loop()
        self._serial += 1
        token = str(self._serial)
        future: asyncio.Future[Msg] = loop.create_future()
        self._waiting[token] = future, loop.time() + self.settings.timeout, subject, write
        if self._timer is None:
            self._timer = loop.call_later(_LOOK, self._expire, loop)
        try:
            await client.publish(subject, payload, reply=self._inbox + token, headers=headers)  # type: ignore[arg-type]
        except nats.errors.Error as exc:
            self._waiting.pop(token, None)
            raise translate(exc, self.where, write=False) from exc
        return await future

    async def send(
        self, subject: str, payload: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send without an answer.

        :raises BackendUnavailable: it was not sent.
        """
        try:
            await self.client.publish(subject, payload, reply=reply, headers=headers)  # type: ignore[arg-type]
        except nats.errors.Error as exc:
            raise translate(exc, self.where, write=False) from exc

    async def subscribe(self, subject: str, handler: Handler) -> Subscriber:
        """Call ``handler`` with each message to ``subject``, on this connection and its successors."""
        subscriber = Subscriber(subject, handler)
        await _attach(self.client, subscriber)
        self._subscribers.append(subscriber)
        return subscriber

    async def unsubscribe(self, subscriber: Subscriber, *, drain: bool = False) -> None:
        """Stop listening.

        :param drain: first let the handler have all that the server had already sent.
        """
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
        current, subscriber.current = subscriber.current, None
        if current is None:
            return
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError, asyncio.TimeoutError):
            if drain and self.is_up:
                async with asyncio.timeout(_CLOSE_WITHIN):
                    drained: Callable[[], Awaitable[None]] = current.drain
                    await drained()
            else:
                await current.unsubscribe()

    async def _connect(self) -> Client:
        client, context = Client(), make_context(self.settings, self.servers)
        self._error = None

        async def lost() -> None:
            self._lost()

        async def found() -> None:
            if self.servers.tls:
                insist(context)
            self._found()

        async def closed() -> None:
            if self._client is client and self._open and self._reopening is None:
                self._reopening = asyncio.create_task(self._reopen())

        options = client_options(self.settings, self.servers, context)
        try:
            async with asyncio.timeout(self.settings.connect_timeout * len(self.servers.urls) + 1.0):
                await self._first(client, disconnected_cb=lost, reconnected_cb=found, closed_cb=closed, **options)
            if self.servers.tls:
                insist(context)
            for subscriber in self._subscribers:
                await _attach(client, subscriber)
        except BaseException as exc:
            await see_through(_close(client))
            if not isinstance(exc, Exception):
                raise
            cause = self._error if isinstance(exc, (nats.errors.NoServersError, TimeoutError, OSError)) else exc
            error = cannot_connect(cause or exc, self.where)
            raise error from error.__cause__
        live: dict[str, Any] = client.options  # from now on it tries for ever
        live["max_reconnect_attempts"], live["reconnect_time_wait"] = -1, _RETRY
        return client

    async def _first(self, client: Client, **options: Any) -> None:
        """Connect; with a single server, an error that no repeat can mend ends it at once."""
        hopeless: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def trouble(exc: Exception) -> None:
            await self._trouble(exc)
            if len(self.servers.urls) == 1 and is_telling(exc) and not hopeless.done():
                hopeless.set_result(None)

        connecting = asyncio.ensure_future(client.connect(error_cb=trouble, **options))
        try:
            await asyncio.wait((connecting, hopeless), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hopeless.cancel()
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait((connecting,), timeout=_CLOSE_WITHIN)
        if connecting.cancelled():
            raise nats.errors.NoServersError
        connecting.result()

    async def _reopen(self) -> None:
        """nats-py gave up (a login that expired, an error of the protocol): begin anew."""
        try:
            while self._open:
                await asyncio.sleep(_RETRY)
                try:
                    self._client = await self._connect()
                except (BackendError, ConfigurationError) as exc:
                    log.warning("%s", exc)
                    continue
                return self._found()
        finally:
            self._reopening = None

    async def _trouble(self, exc: Exception) -> None:
        """nats-py tells of an error that belongs to no call."""
        if not is_telling(self._error):
            self._error = exc
        if (denied := _DENIED.search(str(exc).lower())) is not None:
            self._fail(lambda subject: forbidden(str(exc), self.where), lambda s: s.lower() == denied[1])
            log.warning("NATS at %s: %s", self.where, exc)
        else:
            log.info("NATS at %s: %r", self.where, exc)

    def _lost(self) -> None:
        if self._open:
            log.warning("the connection to NATS at %s is lost; reconnecting", self.where)
        cause = ConnectionResetError("the connection was lost")
        writes = {subject for _, _, subject, write in self._waiting.values() if write}
        self._fail(lambda subject: translate(cause, self.where, write=subject in writes))
        for listener in tuple(self.on_down):
            listener()

    def _found(self) -> None:
        log.info("connected to NATS at %s again", self.where)
        for listener in tuple(self.on_up):
            listener()

    def _answered(self, msg: Msg) -> None:
        waiting = self._waiting.pop(msg.subject[len(self._inbox) :], None)
        if waiting is None or (future := waiting[0]).done():
            return
        if not msg.data and msg.headers is not None and msg.headers.get("Status") == "503":
            future.set_exception(translate(nats.errors.NoRespondersError(), self.where, write=False))
        else:
            future.set_result(msg)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """All requests have the same patience, so the oldest are the first to lose it."""
        now = loop.time()
        for token, (future, deadline, _, write) in list(self._waiting.items()):
            if deadline > now and not future.cancelled():
                break
            del self._waiting[token]
            if not future.done():
                future.set_exception(translate(nats.errors.TimeoutError(), self.where, write=write))
        self._timer = loop.call_later(_LOOK, self._expire, loop) if self._waiting else None

    def _fail(self, error: Callable[[str], Exception], concerns: Callable[[str], bool] = lambda _: True) -> None:
        for token, (future, _, subject, _) in list(self._waiting.items()):
            if concerns(subject):
                del self._waiting[token]
                if not future.done():
                    future.set_exception(error(subject))


async def _attach(client: Client, subscriber: Subscriber) -> None:
    handler = subscriber.handler

    async def handle(msg: Msg) -> None:
        handler(msg)

    # No limits of the client's own: what is under way is bounded by what we asked for.
    subscribe = cast("Callable[..., Awaitable[Subscription]]", getattr(client, "subscribe"))  # noqa: B009 - half typed
    subscriber.current = await subscribe(subscriber.subject, cb=handle, pending_msgs_limit=0, pending_bytes_limit=0)


async def _close(client: Client) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_WITHIN):
            await client.close()
