"""What a transport and its store share while they are connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from paigeant.abc import see_through
from paigeant.errors import BackendClosed, BackendError, BackendUnavailable, ConfigurationError

from .aio import end
from .api import Api
from .codec import HEADROOM
from .errors import Refusal, passes
from .link import Link, log
from .names import Names
from .settings import NatsSettings
from .streams import OLDEST, Features, Version, ensure_stream, queue_stream, state_stream
from .values import OVERHEAD

_CLOCK_EVERY = 30.0
_PAUSE = 0.1
_NOTHING = Features(False, False, False, False, 0.0, 1)


class Session:
    """One link with the streams of a namespace.

    :param settings: of the plugin.
    :param queues: whether it uses the stream of messages.
    """

    def __init__(self, settings: NatsSettings, *, queues: bool) -> None:
        self.settings = settings
        self.names = Names(settings.namespace)
        self.link = Link(settings)
        self.api = Api(self.link)
        self.version: Version = (0, 0, 0)
        self.queue_features, self.state_features = _NOTHING, _NOTHING
        self.max_payload = 1024 * 1024
        self.server_clock = False
        self.uses_queues = queues
        self._state_ready: asyncio.Task[None] | None = None
        self._open, self._closings = False, 0
        self._mutex = asyncio.Lock()
        self._mending: asyncio.Task[None] | None = None
        self._offset = self._ahead = 0.0
        self._read_at = float("-inf")

    async def open(self) -> None:
        """Connect, make and check the streams.

        :raises BackendClosed: it was closed meanwhile; nothing stays open.
        """
        closings = self._closings
        async with self._mutex:
            if self._open:
                self.link.check()
                return
            try:
                self._check(closings)
                await self.link.open()
                self._check(closings)
                await self._settled(self._prepare)
                self._check(closings)
            except BaseException:
                await self.link.close()
                raise
            self.link.on_up.append(self.mend)
            self._open = True

    def _check(self, closings: int) -> None:
        if self._closings != closings:
            raise BackendClosed(f"NATS at {self.link.where} was disconnected while it was connecting")

    async def close(self) -> None:
        """Close it all; who is opening it does not succeed."""
        self._open = False
        self._closings += 1
        self.link.on_up.clear()
        self.link.on_down.clear()
        ready, self._state_ready = self._state_ready, None
        mending, self._mending = self._mending, None
        await see_through(self._end(ready, mending))

    async def _end(self, ready: asyncio.Task[None] | None, mending: asyncio.Task[None] | None) -> None:
        await self.link.close()
        if mending is not None:
            await end(mending)
        if ready is not None:  # it finds the link closed, and tells so whoever waits for it
            await asyncio.wait([ready])
            _failed(ready)

    @property
    def shown_version(self) -> str:
        """The server's version, for people."""
        return ".".join(map(str, self.version))

    @property
    def has_state(self) -> bool:
        """Whether the stream of the store was made and checked."""
        ready = self._state_ready
        return not self.uses_queues or (ready is not None and ready.done() and not _failed(ready))

    async def ensure_state_stream(self) -> None:
        """Make and check the stream of the store, once: who uses no store has none."""
        if self._state_ready is None or (self._state_ready.done() and _failed(self._state_ready)):
            self._state_ready = asyncio.create_task(self._settled(self._prepare_state))
        await asyncio.shield(self._state_ready)

    def mend(self) -> None:
        """Look after the streams in the background: the server may have lost its data."""
        self._read_at = float("-inf")
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend())

    async def restored(self) -> None:
        """Wait for the end of ``mend``."""
        if self._mending is not None and not self._mending.done():
            await asyncio.wait([self._mending])

    async def publish(self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Send to a stream; for as long as an answer may take also while nobody listens, and so nothing happens: it is
        gone, which is mended, or moves to another server, or is so new that not all servers of a cluster know of it.

        :raises BackendUnavailable: it was not stored.
        :raises OutcomeUnknown: no answer came.
        """
        patience = self.settings.timeout
        deadline = time.monotonic() + patience
        while True:
            try:
                return await self.link.request(subject, payload, headers, write=True, patience=patience)
            except BackendUnavailable as exc:
                if self.link.is_up:
                    self.mend()
                patience = deadline - time.monotonic() - _PAUSE
                if not isinstance(exc.__cause__, NoRespondersError) or patience <= 0:
                    raise
            await asyncio.sleep(_PAUSE)

    def clock(self) -> float:
        """The server's clock, as it was measured last."""
        return time.monotonic() + self._offset

    async def now(self) -> float:
        """The server's clock: seconds since the epoch. Its distance from ours is measured twice a minute."""
        await self._look_at_clock()
        return self.clock()

    async def latest(self) -> float:
        """The latest that the server's clock may be: what is due then has waited long enough."""
        await self._look_at_clock()
        return time.monotonic() + self._ahead

    async def _look_at_clock(self) -> None:
        if time.monotonic() - self._read_at < _CLOCK_EVERY:
            return
        stream = self.names.queues if self.uses_queues else self.names.state
        sent = time.monotonic()
        try:
            told = (await self.api.call(f"STREAM.INFO.{stream}")).get("ts")
        except Refusal as exc:
            raise self.api.mapped(exc) from exc
        got = time.monotonic()
        server = _seconds(told)
        self.server_clock = server is not None
        if server is None:  # a server before 2.10, which does not tell: our clock has to do
            server, sent = time.time(), got
        self._offset, self._ahead, self._read_at = server - (sent + got) / 2, server - sent, got

    def _look_at_server(self) -> None:
        found = self.link.client.connected_server_version
        self.version = (found.major, found.minor, found.patch)
        if self.version < OLDEST:
            raise ConfigurationError(
                f"NATS at {self.link.where} has version {self.shown_version}; use 2.9, better 2.12 or newer"
            )
        most = self.link.client.max_payload
        if most <= HEADROOM + OVERHEAD:
            raise ConfigurationError(
                f"NATS at {self.link.where} has a max_payload of {most} bytes, and {HEADROOM} are for headers; "
                "raise max_payload in the server's configuration (1MB is its default)"
            )
        self.max_payload = most

    async def _settled(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Prepare, again for as long as an answer may take, and at least twice: in a cluster a new stream has no leader
        at first, and not all nodes know of it. To ask for the same once more changes nothing."""
        deadline, again = time.monotonic() + self.settings.timeout, False
        while True:
            try:
                return await prepare()
            except BackendError as exc:
                if not passes(exc) or (again and time.monotonic() > deadline):
                    raise
                log.info("%s; asking again", exc)
            again = True
            await asyncio.sleep(_PAUSE)

    async def _prepare(self) -> None:
        self._look_at_server()
        if self.uses_queues:
            wanted = queue_stream(self.names, self.settings, self.version)
            self.queue_features = await ensure_stream(self.api, wanted, self.settings)
            if self.settings.atomic and not self.queue_features.atomic:
                raise ConfigurationError(
                    f"PAIGEANT_NATS_ATOMIC needs NATS 2.12.1 or newer; {self.link.where} has {self.shown_version}"
                )
        if not self.uses_queues or self._state_ready is not None:
            await self._prepare_state()
        self._read_at = float("-inf")
        await self._look_at_clock()

    async def _prepare_state(self) -> None:
        wanted = state_stream(self.names, self.settings, self.version)
        self.state_features = await ensure_stream(self.api, wanted, self.settings)

    async def _mend(self) -> None:
        pause = 0.1
        while True:
            try:
                return await self._prepare()
            except (BackendError, ConfigurationError) as exc:
                log.warning("the streams cannot be looked after: %s", exc)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)


def _failed(future: asyncio.Future[None]) -> bool:
    return future.cancelled() or future.exception() is not None


def _seconds(text: object) -> float | None:
    """RFC 3339 with nanoseconds, as seconds since the epoch."""
    if not isinstance(text, str):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    try:
        start = datetime.fromisoformat(whole + "+00:00").timestamp()
        return start + float(f"0.{fraction}" if fraction.isdigit() else 0)
    except ValueError:
        return None
