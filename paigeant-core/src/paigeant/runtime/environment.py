"""What dispatcher, worker and client have in common: an opened transport, store, security, codecs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, cast

from ..abc import Clock, Observer, StateStore, SystemClock, Transport
from ..envelope.frame import HEADERS
from ..envelope.opening import Opened, open_envelope
from ..envelope.values import Codecs
from ..errors import BackendError, ConfigurationError
from ..model.message import Message, Publication
from ..state.ids import digest_of
from ..state.transitions import BROKER_DELAY, Rules
from .notifier import Notifier
from .sharing import open_shared
from .trust import build_security, check_profile

if TYPE_CHECKING:
    from ..envelope.security import Security
    from ..plugins.registry import PluginRegistry
    from ..plugins.settings import CoreSettings

Mode: TypeAlias = Literal["shared", "separate", "none"]
log = logging.getLogger("paigeant.runtime")

NO_STORE = "none"
HELD = 1.0
"""Seconds that a message is held before it goes round again, where the broker cannot delay it."""
PAIRING = (
    "set PAIGEANT_STATE_STORE: sqlite serves one machine, redis://HOST:6379 or nats://HOST:4222 serve any number "
    '(pip install "paigeant[redis]" or "paigeant[nats]"); or set it to none, if it is meant so'
)
"""What to do about a transport without a store."""
WITHOUT = "a message is then all there is of its workflow: no forks, waits, durable steps, cancelling or status"


@dataclass
class Environment:
    """Everything opened and decided; ``mode`` says how hops are committed (see ``state.transitions``)."""

    transport: Transport
    store: StateStore | None
    mode: Mode
    security: Security
    codecs: Codecs
    settings: CoreSettings
    registry: PluginRegistry
    clock: Clock
    notifier: Notifier
    _offset: float | None = field(default=None, init=False)
    rules: Rules = field(init=False)
    max_body: int = field(init=False)
    """Largest envelope in bytes."""
    raising: str = field(init=False)
    """How that is raised, for messages."""

    def __post_init__(self) -> None:
        able = self.transport.capabilities
        longest, largest = able.max_delay, self.settings.max_message_bytes
        self.max_body = min(largest, able.max_message or largest)
        own = f"raise the limit of {type(self.transport).__name__}, which is lower than PAIGEANT_MAX_MESSAGE_BYTES"
        self.raising = own if self.max_body < largest else "raise PAIGEANT_MAX_MESSAGE_BYTES"
        broker_delay = BROKER_DELAY if longest is None else min(BROKER_DELAY, longest)
        self.rules = Rules(separate=self.mode == "separate", broker_delay=broker_delay)

    @property
    def namespace(self) -> str:
        return self.transport.namespace

    def now(self) -> float:
        """The store's clock, as it was read last (the local one where there is no store)."""
        return self.clock.time() if self._offset is None else self.clock.monotonic() + self._offset

    async def read_clock(self) -> None:
        """Ask the store for the time; until the next answer ours counts on by the monotonic clock, which nobody sets.

        :raises BackendError: there has been no answer yet.
        """
        if self.store is None:
            return
        try:
            self._offset = await self.store.now() - self.clock.monotonic()
        except BackendError:
            if self._offset is None:
                raise

    async def open_final(self, body: bytes, headers: Mapping[str, str] = HEADERS) -> Opened:
        """Verify an envelope that is read to learn of an end: expiry does not matter any more.

        :raises SecurityError: it must not be trusted.
        """
        await self.read_clock()  # who asks may have waited for days, and the machine may have slept
        message = Message("", body, headers)
        return await open_envelope(message, self.security, now=self.now(), limit=self.max_body, allow_expired=True)

    async def later(self, queue: str, message: Message, delay: float) -> Publication:
        """A copy for later, under an id of its own: no deduplication window may take it for the original."""
        copy = Message(digest_of("again", message.id, os.urandom(8).hex()), message.body, message.headers)
        return Publication(queue, copy, await self.hold(delay))

    async def hold(self, delay: float) -> float:
        """What of a delay the broker can do. Where that is next to nothing the message is held here first, or
        it would go round and round."""
        longest = self.transport.capabilities.max_delay
        if longest is None:
            return delay
        if longest < HELD:
            await self.clock.sleep(min(delay, HELD))
        return min(delay, longest)


class Session:
    """Opens an :class:`Environment` on first use and closes what it opened, nothing else.

    A transport or store that was already connected belongs to whoever connected it. One that several
    sessions use is closed by the last of them.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        state_store: StateStore | None = None,
        security: Security | None = None,
        namespace: str | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
    ) -> None:
        if namespace is not None and namespace != transport.namespace:
            raise ConfigurationError(
                f"namespace {namespace!r} is not that of the transport ({transport.namespace!r}); "
                f"use get_transport(namespace={namespace!r})"
            )
        for part in (state_store, security):
            _check_namespace(part, transport)
        self._transport, self._state_store, self._security = transport, state_store, security
        self._clock: Clock = clock or SystemClock()
        self._observers = _observers(observers)
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._environment: Environment | None = None

    async def open(self) -> Environment:
        """The environment, opened once.

        :raises ConfigurationError: settings, keys or store do not fit the transport.
        """
        if (environment := self._environment) is not None:
            await environment.read_clock()
            return environment  # although it may have been closed meanwhile: whoever uses it then is told so
        async with self._lock:
            if self._environment is None:
                self._environment = await self._build()
            return self._environment

    def on_close(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await this before what was opened here is closed."""
        self._stack.push_async_callback(callback)

    async def close(self) -> None:
        """Close what was opened here, or is just being opened; may be opened again."""
        async with self._lock:
            self._environment = None
            await self._stack.aclose()

    async def _build(self) -> Environment:
        from ..plugins.registry import PluginRegistry

        async with AsyncExitStack() as stack:
            registry = PluginRegistry()
            await open_shared(stack, self._transport)
            store, mode = await self._open_store(stack, registry)
            codecs = Codecs(registry.serializers())
            security = self._security or await build_security(self._transport, registry, store=mode)
            check_profile(security, registry.settings.security)
            # One object may be both, or hold several kids: it is entered once.
            members = {id(member): member for member in (*security.signers, *security.verifiers.values())}
            for member in members.values():
                await enter(stack, member)
            await security.self_test()
            observers = (*self._observers, *registry.observers())
            for observer in observers:
                await enter(stack, observer)
            notifier = Notifier(observers, self._clock)
            environment = Environment(
                self._transport, store, mode, security, codecs, registry.settings, registry, self._clock, notifier
            )
            await environment.read_clock()
            self._stack = stack.pop_all()
        return environment

    async def _open_store(self, stack: AsyncExitStack, registry: PluginRegistry) -> tuple[StateStore | None, Mode]:
        own = self._transport.state_store()
        configured = registry.settings.state_store
        if self._state_store is not None:
            store: StateStore | None = self._state_store
        elif configured is None:
            store = own
        elif configured == NO_STORE:
            store = None
        else:
            store = registry.state_store(configured, namespace=self._transport.namespace)
        if store is None:
            if configured is None:
                log.warning(
                    "%s brings no state store, and none is set; %s; %s",
                    type(self._transport).__name__,
                    WITHOUT,
                    PAIRING,
                )
            return None, "none"
        check_pairing(self._transport, store)
        if store is own:
            return store, "shared" if self._transport.capabilities.atomic_writes else "separate"
        await open_shared(stack, store)
        return store, "separate"


class Face:
    """What dispatcher and client share: they open on first use, and as ``async with`` close what they opened.

    :param transport: a transport that somebody else connected stays theirs.
    :param state_store: ``None`` is from configuration (the transport's own by default).
    :param security: ``None`` is from configuration.
    :param namespace: must be that of the transport; ``None`` takes it.
    :param observers: told of events, in addition to those of the configuration.
    :param clock: tells the time and waits; default that of the machine. Tests bring one of their own.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        state_store: StateStore | None = None,
        security: Security | None = None,
        namespace: str | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
    ) -> None:
        self.transport = transport
        self._session = Session(
            transport, state_store=state_store, security=security, namespace=namespace, observers=observers, clock=clock
        )

    async def __aenter__(self) -> Self:
        await self._session.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what was opened here; may be opened again."""
        await self._session.close()


def check_pairing(transport: Transport, store: StateStore) -> None:
    """Refuse a store that dies with its process beside messages that others take over.

    :raises ConfigurationError: it is one.
    """
    if store.scope == "process" and transport.scope != "process":
        own = "use the transport's own store (leave PAIGEANT_STATE_STORE unset), or "
        raise ConfigurationError(
            f"{type(store).__name__} lives inside one process, and {type(transport).__name__} outlives it: when the "
            f"process ends, its workflows would be lost; {own if transport.state_store() else ''}{PAIRING}"
        )


def _check_namespace(part: StateStore | Security | None, transport: Transport) -> None:
    """Refuse what is of another namespace: its workflows or signatures would be taken for those of this one."""
    if part is not None and part.namespace != transport.namespace:
        raise ConfigurationError(
            f"{type(part).__name__} is of namespace {part.namespace!r}, and {type(transport).__name__} of "
            f"{transport.namespace!r}; give both the same namespace"
        )


def _observers(given: Sequence[Observer]) -> tuple[Observer, ...]:
    told = tuple(given) if isinstance(given, Iterable) else None
    if told is not None and all(inspect.iscoroutinefunction(getattr(one, "on_event", None)) for one in told):
        return told
    raise ConfigurationError(f"observers={given!r} must be a list of objects with an `async def on_event(self, event)`")


async def enter(stack: AsyncExitStack, member: object) -> None:
    """Plugins' objects that are async context managers are entered and left by the core, others used as they are."""
    if isinstance(member, AbstractAsyncContextManager):
        await stack.enter_async_context(cast("AbstractAsyncContextManager[object]", member))
