"""What a worker does once all is open: it receives into free slots, and takes each delivery through its hop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any

from ..errors import BackendClosed, BackendCorrupt, BackendError, BackendUnavailable, OutcomeUnknown
from .protocol import GIVE_BACK_WITHIN

if TYPE_CHECKING:
    from ..abc import Consumer, Delivery
    from .hop import HopRunner

log = logging.getLogger("paigeant.worker")

_PAUSE = 1.0
"""Seconds until a broker that could not serve is asked again."""


class Stop:
    """How a worker is told to stop: in order, or at once.

    :ivar serving: the task that serves.
    :ivar grace_over: set before the activities that still run are cancelled.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = False
        self.serving: asyncio.Task[Any] | None = None
        self.grace_over = False

    @property
    def cancels(self) -> bool:
        """Whether a cancelled activity is so because of the stop, and not by its own doing.

        At its end an event loop cancels activities itself, and in the same breath the task that serves.
        """
        return self.grace_over or (self.serving is not None and self.serving.cancelling() > 0)


class Serving:
    """One run of a worker, from the first delivery to the last.

    :param name: of the worker.
    :param runner: takes a delivery through its hop.
    :param slots: how many at the same time.
    :param grace: seconds that running activities have when it is told to stop.
    :param stop: ends it.
    """

    def __init__(self, name: str, runner: HopRunner, *, slots: int, grace: float, stop: Stop) -> None:
        self._name, self._runner, self._slots, self._grace, self._stop = name, runner, slots, grace, stop
        self._hops: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    async def run(self, consume: Callable[[], AbstractAsyncContextManager[Consumer]], ready: asyncio.Event) -> None:
        """Serve until told to stop.

        :param consume: begins to consume.
        :param ready: set once it receives.
        """
        self._stop.serving = asyncio.current_task()
        stopping = asyncio.ensure_future(self._stop.asked.wait())
        async with AsyncExitStack() as stack:
            stack.callback(stopping.cancel)
            if (consumer := await self._begin(consume, stack, stopping)) is None:
                return
            ready.set()
            try:
                await self._receive(consumer, stopping)
            finally:
                await self._drain()

    async def _begin(
        self,
        consume: Callable[[], AbstractAsyncContextManager[Consumer]],
        stack: AsyncExitStack,
        stopping: asyncio.Future[Any],
    ) -> Consumer | None:
        """A broker that was reached and does not serve yet, as while its nodes elect a leader, will.

        :return: ``None`` if the worker was told to stop before it did.
        """
        while not self._stop.asked.is_set():
            try:
                return await stack.enter_async_context(consume())
            except (BackendUnavailable, OutcomeUnknown) as exc:
                log.warning("worker %s cannot begin to receive: %s; trying again", self._name, exc)
            await asyncio.wait([stopping], timeout=_PAUSE)
        return None

    async def _receive(self, consumer: Consumer, stopping: asyncio.Future[Any]) -> None:
        """Receive into free slots."""
        while not self._stop.asked.is_set():
            if len(self._hops) >= self._slots:
                self._freed.clear()
                await _first(stopping, asyncio.ensure_future(self._freed.wait()))
                continue
            for delivery in await self._next(consumer, self._slots - len(self._hops), stopping):
                task = asyncio.create_task(self._runner.process(delivery), name="paigeant hop")
                self._hops.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._hops.discard(task)
        self._freed.set()

    async def _next(self, consumer: Consumer, limit: int, stopping: asyncio.Future[Any]) -> Sequence[Delivery]:
        receiving = asyncio.ensure_future(consumer.receive(limit))
        try:
            await _first(stopping, receiving)
            return () if receiving.cancelled() else receiving.result()
        except BackendError as exc:
            if self._stop.asked.is_set():
                return ()
            if isinstance(exc, (BackendClosed, BackendCorrupt)):
                raise  # no waiting mends it: whoever started the worker must start it anew
            log.warning("nothing can be received: %s; trying again", exc)
        await asyncio.wait([stopping], timeout=_PAUSE)
        return ()

    async def _drain(self) -> None:
        """Let running activities finish; what is not done by then is given back unharmed."""
        hops = self._hops
        try:
            if hops and not self._stop.at_once:
                log.info(
                    "worker %s stops; %d running activities have %g s to finish", self._name, len(hops), self._grace
                )
                await asyncio.wait(tuple(hops), timeout=self._grace)
        finally:  # a second signal, too: once the consumer is closed nothing can be given back by its hop
            self._stop.grace_over = True
            await _cancel(hops)


async def _first(stopping: asyncio.Future[Any], other: asyncio.Future[Any]) -> None:
    """Wait until either is done; ``other`` is cancelled, and waited for, if it is not."""
    try:
        await asyncio.wait([stopping, other], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not other.done():
            other.cancel()
            await asyncio.wait([other])


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel them and wait, but not for ever: an activity may refuse to stop."""
    for task in tuple(tasks):
        task.cancel()
    if tasks:
        _, stubborn = await asyncio.wait(tuple(tasks), timeout=GIVE_BACK_WITHIN + 1.0)
        for task in stubborn:
            log.warning("%s does not stop when it is cancelled; it is left to its lease", task.get_name())
            tasks.discard(task)
