"""The connection: opened promptly or not at all, replaced for ever, with any number of requests in flight."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import secrets
from collections.abc import Callable, Mapping

import nats.errors
from nats.aio.msg import Msg

from paigeant.abc import see_through
from paigeant.errors import BackendClosed, BackendUnavailable, ConfigurationError, OutcomeUnknown

from .aio import end
from .client import HardenedClient
from .dialing import abort, close, connect
from .errors import forbidden, translate
from .settings import NatsSettings
from .subscriptions import Handler, Subscriber, Subscriptions

log = logging.getLogger("paigeant.nats")

_LOOK = 0.25
_LONGEST_PAUSE = 2.0
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')


class Link:
    """A connection of nats-py under supervision. Serves one event loop.

    All answers come to one inbox; a request is a future in a table, and one timer for all of them tells
    which are late. While the connection is down requests are refused at once, and nothing is buffered.
    """

    def __init__(self, settings: NatsSettings) -> None:
        self.settings, self.servers = settings, settings.servers
        self.where = self.servers.shown
        self.on_down: list[Callable[[], None]] = []
        """Called when the connection is lost."""
        self.on_up: list[Callable[[], None]] = []
        """Called when it stands again."""
        self.on_denied: list[Callable[[str], None]] = []
        """Told of each subject, in small letters, that the server does not let us use."""
        self._client: HardenedClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions = Subscriptions()
        self._waiting: dict[str, tuple[asyncio.Future[Msg], float, str, bool]] = {}
        self._serial = 0
        self._inbox = ""
        self._timer: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._mute: str | None = None
        self._cluster: list[str] = []
        """Further servers of the cluster, as the last one told until it was lost."""

    async def open(self) -> None:
        """Connect.

        :raises BackendUnavailable: no server is reached.
        :raises ConfigurationError: the login is refused, or TLS does not fit.
        """
        self._inbox = f"{self.settings.inbox_prefix}.{secrets.token_hex(11)}."
        self._subscriptions.clear()
        self._subscriptions.add(Subscriber(self._inbox + "*", self._answered))
        self._loop = asyncio.get_running_loop()
        self._client = await self._connect()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Flush and close; all who wait get ``BackendClosed``, or ``OutcomeUnknown`` for a write."""
        client, self._client = self._client, None
        keeper, self._keeper = self._keeper, None
        told = f"the connection to NATS at {self.where} was closed"
        self._fail(lambda write: OutcomeUnknown(f"{told}; it may have happened") if write else BackendClosed(told))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if keeper is not None:
            await see_through(end(keeper))
        if client is not None:
            await see_through(close(client))

    @property
    def client(self) -> HardenedClient:
        """The client, if it can be used now.

        :raises BackendClosed, ConfigurationError: see ``check``.
        :raises BackendUnavailable: the connection is down, for now.
        """
        self.check()
        client = self._client
        if client is None or not client.is_reading:
            raise BackendUnavailable(f"NATS at {self.where} is out of reach; reconnecting")
        return client

    @property
    def is_up(self) -> bool:
        return self._client is not None and self._client.is_reading

    def check(self) -> None:
        """Refuse what could not be done, or would share a connection unawares.

        :raises BackendClosed: not connected, or closed.
        :raises ConfigurationError: it was connected in another event loop.
        """
        if self._client is None:
            raise BackendClosed(f"not connected to NATS at {self.where}: call connect(), or use 'async with'")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "this NATS instance belongs to another event loop: use and disconnect it there, or connect a clone() "
                "in this one"
            )

    def check_leaving(self) -> None:
        """Refuse to close what lives in another event loop: that would wait for ever.

        :raises ConfigurationError: it was connected in another event loop, which is not closed.
        """
        if self._client is not None and self._loop is not None and not self._loop.is_closed():
            self.check()

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        write: bool = False,
        patience: float | None = None,
    ) -> Msg:
        """Send, and wait for the answer.

        :param write: it changes something: no answer means that nobody knows whether it did.
        :param patience: seconds to wait; default ``timeout``.
        :raises BackendUnavailable: it was not sent, nobody listens there, or (unless ``write``) no answer came.
        :raises OutcomeUnknown: no answer came to a write.
        """
        client, loop = self.client, asyncio.get_running_loop()
        if self._mute is not None:
            raise forbidden(self._mute, self.where)
        self._serial += 1
        token = str(self._serial)
        future: asyncio.Future[Msg] = loop.create_future()
        deadline = loop.time() + (self.settings.timeout if patience is None else patience)
        self._waiting[token] = future, deadline, subject, write
        if self._timer is None:
            self._look(loop)
        try:
            await client.publish(subject, payload, reply=self._inbox + token, headers=headers)  # type: ignore[arg-type]
        except BaseException as exc:
            self._waiting.pop(token, None)
            if isinstance(exc, (nats.errors.Error, OSError)):
                raise translate(exc, self.where, write=write and isinstance(exc, OSError)) from exc
            raise
        return await future

    async def send(
        self, subject: str, payload: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send without an answer.

        :raises BackendUnavailable: it was not sent.
        """
        try:
            await self.client.publish(subject, payload, reply=reply, headers=headers)  # type: ignore[arg-type]
        except (nats.errors.Error, OSError) as exc:
            raise translate(exc, self.where, write=False) from exc

    async def subscribe(self, subject: str, handler: Handler) -> Subscriber:
        """Call ``handler`` with each message to ``subject``, on this connection and its successors."""
        subscriber = Subscriber(subject, handler)
        try:
            await self.listen(subscriber)
        except BaseException:
            await self._subscriptions.remove(subscriber)
            raise
        return subscriber

    async def listen(self, subscriber: Subscriber) -> None:
        """The same for who keeps the subscriber; while there is no connection, it begins with the next."""
        self.check()
        self._subscriptions.add(subscriber)
        if self.is_up:
            await self._subscriptions.attach(self.client, subscriber)

    async def unsubscribe(self, subscriber: Subscriber, *, drain: bool = False) -> None:
        """Stop listening.

        :param drain: first let the handler have all that the server had already sent.
        """
        await self._subscriptions.remove(subscriber, drain=drain)

    async def _connect(self) -> HardenedClient:
        client = await connect(self.settings, self._cluster, self._trouble)
        self._mute = None
        try:
            await self._subscriptions.attach_all(client)
        except BaseException:
            await see_through(close(client))
            raise
        return client

    async def _keep(self) -> None:
        """Notice the loss of the connection, and replace it."""
        while (client := self._client) is not None:
            while client.is_reading:  # it ends at once, but nobody is told while bytes are left to be sent
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await client.ended.wait()
            self._lost(client)
            await see_through(close(client))
            await self._stand(await self._replace())

    async def _stand(self, client: HardenedClient) -> None:
        if self._client is None:  # closed meanwhile, and our cancellation was lost in the client
            await see_through(close(client))
            return
        self._client = client
        log.info("connected to NATS at %s again", self.where)
        for listener in tuple(self.on_up):
            listener()

    async def _replace(self) -> HardenedClient:
        pause = 0.05
        while True:
            try:
                return await self._connect()
            except Exception as exc:  # whatever it is, there is nobody else to try again
                log.warning("%s", exc)
            await asyncio.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _lost(self, client: HardenedClient) -> None:
        log.warning("the connection to NATS at %s is lost; reconnecting", self.where)
        abort(client)
        if not self.servers.tls:  # of others we know no name that a certificate could show
            self._cluster = [f"nats://{found.netloc}" for found in client.discovered_servers]
        cause = ConnectionResetError("the connection was lost")
        self._fail(lambda write: translate(cause, self.where, write=write))
        for listener in tuple(self.on_down):
            listener()

    async def _trouble(self, exc: Exception) -> None:
        """nats-py tells of an error that belongs to no call."""
        if (denied := _DENIED.search(str(exc).lower())) is not None:
            about = denied[2]
            if denied[1] == "publish":
                self._fail(lambda _: forbidden(str(exc), self.where), lambda subject: subject.lower() == about)
            elif about == f"{self._inbox}*".lower():  # no answer will ever come
                self._mute = str(exc)
                self._fail(lambda _: forbidden(str(exc), self.where))
            for listener in self.on_denied:
                listener(about)
            if not self.on_denied:
                log.warning("NATS at %s: %s", self.where, exc)
        else:
            log.info("NATS at %s: %r", self.where, exc)

    def _answered(self, msg: Msg) -> None:
        waiting = self._waiting.pop(msg.subject[len(self._inbox) :], None)
        if waiting is None or (future := waiting[0]).done():
            return
        headers = msg.headers or {}
        if not msg.data and headers.get("Status") == "503" and "Nats-Sequence" not in headers:
            future.set_exception(translate(nats.errors.NoRespondersError(), self.where, write=False))
        else:
            future.set_result(msg)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _LOOK
        self._timer = loop.call_at(due, self._expire, loop, due)

    def _expire(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Tell those whose time is over, and whose answer is not on its way."""
        now = loop.time()
        until = now if self._client is None else self._client.answered(now, self.settings.timeout, now - due)
        for token, (future, deadline, _, write) in list(self._waiting.items()):
            if deadline > until and not future.cancelled():
                continue
            del self._waiting[token]
            if not future.done():
                future.set_exception(translate(nats.errors.TimeoutError(), self.where, write=write))
        self._timer = None
        if self._waiting:
            self._look(loop)

    def _fail(self, error: Callable[[bool], Exception], concerns: Callable[[str], bool] = lambda _: True) -> None:
        for token, (future, _, subject, write) in list(self._waiting.items()):
            if concerns(subject):
                del self._waiting[token]
                if not future.done():
                    future.set_exception(error(write))
