"""The worker: receives deliveries of its activities' queues and takes them through the hop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from ..abc import Clock, Observer, StateStore, Transport, see_through
from ..durations import seconds
from ..errors import ConfigurationError
from .activity import Activity
from .background import Background
from .environment import Environment, Session
from .execution import Host, Middleware
from .heartbeat import Heartbeat
from .hop import HopRunner
from .process import long_running
from .protocol import protocol_for
from .serving import Serving, Stop
from .sweeper import Sweeper
from .threads import Threads
from .throttle import Throttle

if TYPE_CHECKING:
    from ..envelope.security import Security

log = logging.getLogger("paigeant.worker")


class Worker:
    """Serves activities. Any number of workers, in any number of processes, may serve the same ones.

    :param transport: connected by the worker unless somebody has.
    :param activities: what it serves; it consumes their queues.
    :param state_store: ``None`` is from configuration (the transport's own by default).
    :param security: ``None`` is from configuration.
    :param namespace: must be that of the transport; ``None`` takes it.
    :param lifespan: called with the worker; what its context manager yields is ``ctx.deps``.
    :param concurrency: activities at the same time; default from configuration (100).
    :param middleware: wraps each attempt, first is outermost.
    :param observers: told of events, in addition to those of the configuration.
    :param lease: a timedelta or seconds until the work of a vanished worker may be taken over; default
        from configuration (30).
    :param grace: a timedelta or seconds that running activities have when the worker stops; default
        from configuration (30).
    :param name: in history and events; default ``host-pid-random``.
    :param clock: tells the time and waits; default that of the machine. Tests bring one of their own.
    :raises ConfigurationError: two activities of one name, none at all, types that cannot travel, or
        another parameter that is wrong.
    """

    def __init__(
        self,
        transport: Transport,
        activities: Iterable[Activity[..., Any]],
        *,
        state_store: StateStore | None = None,
        security: Security | None = None,
        namespace: str | None = None,
        lifespan: Callable[[Worker], AbstractAsyncContextManager[Any]] | None = None,
        concurrency: int | None = None,
        middleware: Sequence[Middleware] = (),
        observers: Sequence[Observer] = (),
        lease: timedelta | float | None = None,
        grace: timedelta | float | None = None,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.activities = _by_name(activities)
        self.transport = transport
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._session = Session(
            transport, state_store=state_store, security=security, namespace=namespace, observers=observers, clock=clock
        )
        self._lifespan, self._middleware = lifespan, _callables(middleware)
        self._concurrency = _slots(concurrency)
        self._lease, self._grace = _duration("lease", lease, least=0.001), _duration("grace", grace, least=0.0)
        self._running: asyncio.Task[None] | None = None
        self._stop: Stop | None = Stop()
        self._runs = False
        self._ready = asyncio.Event()
        self._background: Background | None = None

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues it consumes."""
        return tuple(sorted({activity.queue for activity in self.activities.values()}))

    def stop(self) -> None:
        """Stop receiving, let running activities finish within the grace period, give back the rest.

        A second call stops at once. Before its first run, a call holds for that, which returns at once; between runs it
        does nothing.
        """
        if self._stop is None:
            return
        if self._stop.asked.is_set():
            self._cut_short(self._stop)
        self._stop.asked.set()

    def _cut_short(self, stop: Stop) -> None:
        """Stop at once. Only the first call counts: another cancellation would interrupt the giving back."""
        if self._running is not None and not stop.at_once:
            stop.at_once = True
            self._running.cancel()

    def run_sync(self) -> None:
        """Run until SIGTERM or SIGINT; a second signal stops at once. Tunes the process for it meanwhile.

        :raises ConfigurationError: as ``run``; this is for the main thread only.
        """
        with contextlib.suppress(KeyboardInterrupt), long_running():
            asyncio.run(self.run(signals=True))

    async def run(self, *, signals: bool = False) -> None:
        """Serve until ``stop`` or cancellation.

        :param signals: also stop on SIGTERM and SIGINT (main thread only).
        :raises ConfigurationError: settings, keys, store or lifespan do not fit, it runs already, or signals are
            wanted outside the main thread.
        :raises BackendClosed: the transport was disconnected while it served.
        :raises BackendCorrupt: what the transport holds is damaged, or was replaced.
        """
        if self._runs:
            raise self._twice()
        self._runs = True
        stop = self._stop = self._stop or Stop()
        try:
            with _signals(self.stop) if signals else contextlib.nullcontext():
                if stop.asked.is_set():
                    return log.warning("worker %s was stopped before it ran: it serves nothing", self.name)
                await self._attend(stop)
        finally:
            self._runs, self._running, self._stop = False, None, None

    async def _attend(self, stop: Stop) -> None:
        """Serve in a task of its own, and do not leave it before it has ended."""
        self._running = asyncio.ensure_future(self._serve(stop))
        try:
            await asyncio.shield(self._running)  # whoever cancels us must not be the first to reach it
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                self._cut_short(stop)
                await see_through(self._running)
                raise

    async def __aenter__(self) -> Self:
        """Serve in the background; returns once it receives. Should it fail later, the block is cancelled and
        leaving it raises the error.

        :raises ConfigurationError: as ``run``, or it was entered already.
        """
        if self._background is not None:
            raise self._twice()
        self._ready = asyncio.Event()
        self._background = Background(self.run(), name=f"paigeant worker {self.name}")
        try:
            await self._background.started(self._ready.wait())
        except BaseException:
            self._background = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._stop is not None and not self._stop.asked.is_set():  # else it would be the second call, at once
            self.stop()
        assert self._background is not None
        try:
            await self._background.join()
        finally:
            self._background = None

    def _twice(self) -> ConfigurationError:
        return ConfigurationError(f"worker {self.name} runs already; make another Worker to run it twice")

    async def _serve(self, stop: Stop) -> None:
        async with AsyncExitStack() as stack:
            env = await self._session.open()
            stack.push_async_callback(self._session.close)
            deps = await stack.enter_async_context(_span(self._lifespan, self)) if self._lifespan is not None else None
            slots = env.settings.concurrency if self._concurrency is None else self._concurrency
            lease = env.settings.lease if self._lease is None else self._lease
            grace = env.settings.grace if self._grace is None else self._grace
            heartbeat = await stack.enter_async_context(Heartbeat(env, lease))
            host = Host(self.activities, deps, self._middleware, stop, Threads(slots))
            runner = HopRunner(
                env,
                protocol_for(env, lease),
                host,
                heartbeat=heartbeat,
                throttle=Throttle(env.clock, max(1, slots // 2)),
                worker=self.name,
            )
            log.info(
                "worker %s serves %s on %s (%s)",
                self.name,
                ", ".join(self.activities),
                type(self.transport).__name__,
                {"shared": "store of the transport", "separate": "separate store", "none": "no store"}[env.mode],
            )
            serving = Serving(self.name, runner, slots=slots, grace=grace, stop=stop)
            async with _sweeping(env):
                await serving.run(partial(self.transport.consume, self.queues, lease=lease), self._ready)


def _by_name(activities: Iterable[Activity[..., Any]]) -> dict[str, Activity[..., Any]]:
    served: dict[str, Activity[..., Any]] = {}
    if not isinstance(activities, Iterable):
        raise ConfigurationError(f"expected a list of activities, got {activities!r}")
    for one in activities:
        if not isinstance(one, Activity):
            raise ConfigurationError(f"{one!r} is not an activity; decorate the function with @activity")
        if served.setdefault(one.name, one) is not one:
            raise ConfigurationError(f"two activities are named {one.name!r}; give one another name")
        one.prepare()
    if not served:
        raise ConfigurationError("a worker needs at least one activity")
    return served


def _callables(middleware: Sequence[Middleware]) -> tuple[Middleware, ...]:
    given = tuple(middleware) if isinstance(middleware, Iterable) else None
    if given is not None and all(map(callable, given)):
        return given
    raise ConfigurationError(f"middleware={middleware!r} must be a list of functions (context, call)")


def _slots(concurrency: int | None) -> int | None:
    if concurrency is None or (type(concurrency) is int and concurrency >= 1):
        return concurrency
    raise ConfigurationError(f"concurrency={concurrency!r} must be a whole number of at least 1")


def _duration(name: str, value: timedelta | float | None, *, least: float) -> float | None:
    given = None if value is None else seconds(value)
    if value is not None and (given is None or not least <= given <= 86_400):
        raise ConfigurationError(f"{name}={value!r} must be a timedelta or seconds, from {least:g} s to a day")
    return given


def _span(lifespan: Any, worker: Worker) -> AbstractAsyncContextManager[Any]:
    """What ``lifespan`` makes: written without type checks, often, so it is looked at."""
    made: object = lifespan(worker) if callable(lifespan) else lifespan
    if callable(lifespan) and isinstance(made, AbstractAsyncContextManager):
        return cast("AbstractAsyncContextManager[Any]", made)
    if inspect.iscoroutine(made):
        made.close()
    raise ConfigurationError(
        "lifespan must be a function of the worker that returns an async context manager, not "
        f"{type(made).__name__}; write an async generator function that yields once, and decorate it with "
        "@asynccontextmanager (of contextlib)"
    )


@asynccontextmanager
async def _sweeping(env: Environment) -> AsyncGenerator[None]:
    if env.store is None:
        yield
        return
    task = asyncio.create_task(Sweeper(env, env.store).run(), name="paigeant sweeper")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextmanager
def _signals(stop: Callable[[], None]) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "signals reach the main thread only, and this is another; run the worker without them "
            "(asyncio.run(worker.run())), and stop it with loop.call_soon_threadsafe(worker.stop)"
        )
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)
    for number in wanted:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)
