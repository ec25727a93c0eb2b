"""Keeps leases alive from a thread with its own connection, so that a busy event loop cannot lose one.

The same thread watches the loop, and names the activity and the stack that block it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..abc import StateStore, Transport
from ..errors import BackendUnavailable, RevisionConflict
from ..model.store import KEEP
from ..state.cursor import Cursor, State

if TYPE_CHECKING:
    from .claim import Claim
    from .environment import Environment

log = logging.getLogger("paigeant.runtime")

BLOCKED_AFTER = 1.0
_TICK = 0.5
_ATTEMPTS = 3
"""Most puts of one renewal, should the cursor be changed each time; the next look tries again."""


class Heartbeat:
    """Renews the leases of claims every third of a lease.

    A claim whose lease was not renewed for a whole lease, by the monotonic clock, is lost, whatever
    the backend would still accept.

    :param lease: seconds.
    :param blocked_after: seconds without a turn of the event loop before it is called blocked.
    """

    def __init__(self, env: Environment, lease: float, *, blocked_after: float = BLOCKED_AFTER) -> None:
        self._env, self._lease, self._blocked_after = env, lease, blocked_after
        self._claims: set[Claim] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._seen = time.monotonic()
        self._asked = False
        self._reported = False

    def add(self, claim: Claim) -> None:
        """Watch over ``claim``, whose lease starts now unless it has started."""
        claim.expires = claim.expires or time.monotonic() + self._lease
        self._claims.add(claim)

    def remove(self, claim: Claim) -> None:
        self._claims.discard(claim)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="paigeant-heartbeat", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        if (renewing := self._renewing) is not None:
            with contextlib.suppress(RuntimeError):  # the thread has ended, and so has its loop
                renewing.get_loop().call_soon_threadsafe(renewing.cancel)
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            renewer = _Renewer(self._env)
            try:
                while not self._stop.wait(min(_TICK, self._lease / 6)):
                    self._watch_loop()
                    due = self._due()
                    if due:
                        runner.run(self._renew(renewer, due))
            finally:
                runner.run(renewer.close())

    def _due(self) -> list[Claim]:
        now = time.monotonic()
        return [claim for claim in tuple(self._claims) if claim.expires - now <= self._lease * 2 / 3]

    async def _renew(self, renewer: _Renewer, claims: list[Claim]) -> None:
        self._renewing = asyncio.current_task()
        if self._stop.is_set():
            return
        started = time.monotonic()
        # After a suspended process, say: the backend may not have noticed.
        self._lose([claim for claim in claims if claim.expires <= started])
        claims = [claim for claim in claims if claim in self._claims]
        try:
            async with asyncio.timeout(self._lease / 3):
                lost = await renewer.renew(claims, self._lease)
        except (Exception, asyncio.CancelledError) as exc:
            if self._stop.is_set():
                return
            # Nobody else cancels this, and the thread must not end: the next look may succeed.
            log.warning("leases could not be renewed: %s", str(exc) or type(exc).__name__)
            lost = {claim for claim in claims if claim.expires <= time.monotonic()}
        else:
            for claim in set(claims) - lost:
                claim.expires = started + self._lease
            # What was settled just now cannot be renewed either: its settle tells whether it was lost before.
            lost = {claim for claim in lost if not claim.concluding}
        self._lose(lost & self._claims)

    def _lose(self, claims: Iterable[Claim]) -> None:
        loop = self._loop
        for claim in claims:
            log.warning("the lease of hop %d of workflow %s is lost", claim.seq, claim.correlation_id)
            self._claims.discard(claim)
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(claim.lose)

    def _watch_loop(self) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if not self._claims:
            self._seen = time.monotonic()
        elif not self._asked:
            self._asked, self._seen = True, time.monotonic()
            loop.call_soon_threadsafe(self._answer)
        elif not self._reported and time.monotonic() - self._seen > self._blocked_after:
            self._reported = True
            self._report(loop)

    def _answer(self) -> None:
        self._asked = self._reported = False

    def _report(self, loop: asyncio.AbstractEventLoop) -> None:
        task: asyncio.Task[Any] | None = asyncio.current_task(loop)
        frame = sys._current_frames().get(self._main)  # pyright: ignore[reportPrivateUsage]
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame else ""
        log.warning(
            "%s blocks the event loop for more than %.1f s; use `def` instead of `async def` for blocking code\n%s",
            task.get_name() if task else "something",
            self._blocked_after,
            stack,
        )


class _Renewer:
    """Its own connection to the transport or, in separate mode, to the store; opened when first needed."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._transport: Transport | None = None
        self._store: StateStore | None = None

    async def renew(self, claims: list[Claim], lease: float) -> set[Claim]:
        """Extend the leases; return the claims that are lost."""
        if self._env.mode == "separate":
            return await self._renew_cursors(claims, lease)
        if self._transport is None:
            self._transport = self._env.transport.clone()
        await self._transport.connect()
        lost = await self._transport.renew([claim.delivery.lease_token for claim in claims])
        return {claim for claim in claims if claim.delivery.lease_token in lost}

    async def _renew_cursors(self, claims: list[Claim], lease: float) -> set[Claim]:
        assert self._env.store is not None
        if self._store is None:
            self._store = self._env.store.clone()
        await self._store.connect()
        until = time.monotonic() + lease
        due = await self._store.now() + lease
        renewals = [self._renew_cursor(self._store, claim, due, until) for claim in claims]
        results = await asyncio.gather(*renewals, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return {claim for claim, kept in zip(claims, results, strict=True) if not kept}

    async def _renew_cursor(self, store: StateStore, claim: Claim, due: float, until: float) -> bool:
        """Whether it is still ours; noted in the claim, too, whatever becomes of the others."""
        for _ in range(_ATTEMPTS):
            try:
                claim.revision = await store.put(claim.keys.cursor, KEEP, expected=claim.revision, due=due)
            except RevisionConflict:
                entry = await store.get(claim.keys.cursor)
                if entry is None or not _is_ours(found := Cursor.decode(entry.value), claim):
                    claim.expires = -math.inf
                    return False
                if found.state is State.RUNNING:  # an earlier renewal, say, whose answer was lost
                    claim.revision = entry.revision
                    continue
            claim.expires = until
            return True
        raise BackendUnavailable(f"the cursor of workflow {claim.correlation_id!r} does not stand still")

    async def close(self) -> None:
        for resource in (self._transport, self._store):
            if resource is not None:
                try:
                    await resource.disconnect()
                except Exception as exc:
                    log.info("the connection of the heartbeat could not be closed: %s", exc)


def _is_ours(found: Cursor, claim: Claim) -> bool:
    """Still the claim, or what the claim itself made of it just now: then nothing is lost, and its message is
    about to be sent."""
    if found.state is State.RUNNING and found.owner == claim.cursor.owner:
        return True
    return claim.ending is not None and found.nonce == claim.ending.cursor.nonce
