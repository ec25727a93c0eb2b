"""A connection that is watched over: opened on any of several hosts, and opened again when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncGenerator
from typing import Any

import aio_pika
from aiormq.connection import TransportFactory
from yarl import URL

from paigeant.errors import BackendClosed, BackendUnavailable, ConfigurationError, PaigeantError

from . import errors, library_log
from .line import Line
from .settings import Address, Place, RabbitMQSettings
from .tasks import apart, cancel
from .wire import Wire, WireReader, WireWriter

log = logging.getLogger("paigeant.rabbitmq")

_FIRST, _LONGEST = 0.05, 5.0
OLDEST = (3, 10)
"""Version of RabbitMQ that is needed."""


class _Opened(TransportFactory):
    """Hands the library a stream that is open already."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams = reader, writer

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._streams


class Link:
    """Keeps one line open.

    :param name: shown by the broker's management.
    :ivar blocked: why the broker takes no messages; ``None`` while it does. ``halted`` and ``unblocked`` are set when
        that changes.
    """

    def __init__(self, place: Place, settings: RabbitMQSettings, name: str) -> None:
        self.place, self._settings, self._name = place, settings, name
        self._line: Line | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._failure: PaigeantError | None = None
        self._closed = False
        self.blocked: str | None = None
        self.halted, self.unblocked = asyncio.Event(), asyncio.Event()
        self.unblocked.set()

    @property
    def where(self) -> str:
        """For people: the host of the present line, or all of them."""
        return str(self._line.address if self._line else ",".join(map(str, self.place.addresses)))

    async def open(self) -> None:
        """Connect for the first time.

        :raises BackendClosed: it was closed meanwhile.
        :raises BackendUnavailable: no host is reached.
        :raises ConfigurationError: the settings are wrong.
        """
        library_log.shorten()
        line = await apart(self._connect(), Line.close)
        self._up(line)
        if self._closed:  # meanwhile
            await self.close()
            self._check()
        self._keeper = asyncio.create_task(self._keep(line), name=f"paigeant rabbitmq {self._name}")

    async def line(self, timeout: float | None) -> Line:
        """The open line; waits for it while it is being opened again.

        :raises BackendUnavailable: not within ``timeout`` seconds.
        """
        if self._line is not None and self._line.alive:
            return self._line
        try:
            async with asyncio.timeout(timeout):
                while self._line is None or not self._line.alive:
                    self._check()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise BackendUnavailable(
                str(self._failure or f"RabbitMQ at {self.where}: the connection is lost; it is being opened again")
            ) from self._failure
        return self._line

    @contextlib.asynccontextmanager
    async def another(self) -> AsyncGenerator[Line]:
        """A line for one call that the broker may answer by ending the connection."""
        line = await apart(self._connect(), Line.close)
        try:
            yield line
        finally:
            await line.close()

    async def close(self) -> None:
        """End it. What waits for a line is told ``BackendClosed``."""
        self._closed = True
        keeper, self._keeper = self._keeper, None
        self._changed.set()
        if keeper is not None:
            await cancel(keeper)
        if (line := self._line) is not None:  # the keeper had not begun
            self._down()
            await line.close()

    def _check(self) -> None:
        if self._closed:
            raise BackendClosed("the RabbitMQ transport is not connected")

    async def _keep(self, line: Line) -> None:
        try:
            while True:
                reason = await asyncio.shield(line.lost)
                self._down()
                log.warning("the %s connection to RabbitMQ at %s is lost (%s); opening it again",
                            self._name, line.address, reason)  # fmt: skip
                await line.close()
                line = await self._reconnect()
                self._up(line)
                log.info("RabbitMQ at %s is reached again", line.address)
        finally:
            self._down()
            await line.close()

    async def _reconnect(self) -> Line:
        pause = _FIRST
        while True:
            await asyncio.sleep(pause * (0.5 + random.random() / 2))
            pause = min(2 * pause, _LONGEST)
            try:
                return await self._connect()
            except PaigeantError as exc:
                if str(exc) != str(self._failure):
                    log.warning("%s", exc)
                self._failure = exc

    def _up(self, line: Line) -> None:
        self._line, self._failure = line, None
        line.wire.on_blocked = self._on_blocked
        self._changed.set()

    def _down(self) -> None:
        self._line = None
        self._on_blocked(None)
        self._changed.set()

    def _on_blocked(self, reason: str | None) -> None:
        self.blocked = reason
        if reason is None:
            self.halted.clear()
            self.unblocked.set()
        else:
            log.warning("%s", errors.halted(self.where, reason))
            self.unblocked.clear()
            self.halted.set()

    async def _connect(self) -> Line:
        """Any host that answers; otherwise the error of the last."""
        addresses = random.sample(self.place.addresses, len(self.place.addresses))
        for number, address in enumerate(addresses, 1):
            try:
                return await self._connect_to(address)
            except PaigeantError as exc:
                if number == len(addresses):
                    raise
                log.debug("%s", exc)
        raise BackendUnavailable("no host")  # pragma: no cover - there is at least one

    async def _connect_to(self, address: Address) -> Line:
        wire: Wire | None = None
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                reader, writer, wire = await self._streams(address)
                return await self._login(address, wire, _Opened(reader, writer))
        except errors.CONNECTING as exc:
            raise errors.connecting(exc, str(address), None if wire is None else wire.goodbye) from exc

    async def _streams(self, address: Address) -> tuple[asyncio.StreamReader, WireWriter, Wire]:
        loop = asyncio.get_running_loop()
        reader = WireReader(loop=loop)
        context = tls(self._settings) if self.place.tls else None
        transport, wire = await loop.create_connection(lambda: Wire(reader, loop), *address, ssl=context)
        return reader, WireWriter(wire, transport, reader), wire

    async def _login(self, address: Address, wire: Wire, opened: _Opened) -> Line:
        name = f"paigeant {self._name}"
        connection = aio_pika.Connection(self._url(address), client_properties={"connection_name": name})
        connection.kwargs["transport_factory"] = opened
        try:
            await connection.connect()
            line = Line(connection, wire, address)
            _check_version(line)
        except BaseException:
            wire.abort()
            await connection.close()
            raise
        wire.start_pulse(self._settings.heartbeat)
        return line

    def _url(self, address: Address) -> URL:
        place, options = self.place, {"heartbeat": str(self._settings.heartbeat), "auth": self._settings.auth}
        return URL.build(
            scheme="amqps" if place.tls else "amqp",
            user=place.username,
            password=place.password.get_secret_value(),
            host=address.host,
            port=address.port,
            path="/" + place.vhost.replace("/", "%2F") if place.vhost != "/" else "/",
            query=options,
            encoded=False,
        )


def _check_version(line: Line) -> None:
    """Older quorum queues expire no messages, so delays and replies would not work.

    :raises ConfigurationError: it is too old.
    """
    if line.version and line.version < OLDEST:
        raise ConfigurationError(
            f"RabbitMQ at {line.address} is version {line.server['version']}, and 3.10 or newer is needed; upgrade it"
        )


def tls(settings: RabbitMQSettings) -> ssl.SSLContext:
    """:raises ConfigurationError: a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_cert is not None:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigurationError(
            f"PAIGEANT_RABBITMQ_TLS_CA, _TLS_CERT or _TLS_KEY cannot be used: {exc.strerror or exc}"
        ) from exc
    if not settings.tls_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
