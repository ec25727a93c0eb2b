"""One connection, pipelined: commands leave at once, answers come in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from redis import exceptions as client

from paigeant.errors import BackendClosed, BackendError

from .client import Argument, Connection, Reply, cut, heard, pack, send
from .dial import Dialer
from .errors import code_of, elsewhere, lost, refused

_SPEED = 1 << 20
"""Bytes that the slowest network may take in a second: what is not answered yet may still be on its way."""


class _Waiting(NamedTuple):
    future: asyncio.Future[Reply] | None
    deadline: float
    changes: bool
    size: int


class Wire:
    """Connects when there is something to say, and again after a failure; never repeats a command.

    :param dialer: makes the connections.
    :param timeout: seconds to wait for an answer, or for more of one, and one more for each MiB that is not answered;
        then the connection is given up.
    """

    def __init__(self, dialer: Dialer, timeout: float) -> None:
        self.dialer = dialer
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._waiting: deque[_Waiting] = deque()
        self._unanswered = 0  # bytes
        self._reader: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._leaving = False  # the server is not the one to ask: hang up once it has answered the rest
        self._closed = False

    @property
    def where(self) -> str:
        """The server, as host and port."""
        return str(self.dialer.address)

    async def open(self) -> None:
        """Connect unless connected. Callers at the same time share one attempt.

        :raises BackendUnavailable: the server is not reached.
        :raises BackendClosed: closed meanwhile.
        """
        if self._connection is not None:
            return
        if (dialing := self._dialing) is None:
            dialing = self._dialing = asyncio.create_task(self._dial())
            dialing.add_done_callback(self._dialed)
        await asyncio.wait([dialing])  # neither ends it with a caller that is cancelled, nor cancels a caller with it
        self._check()
        dialing.result()

    async def call(
        self, *command: Argument, changes: bool = True, after: tuple[Argument, ...] = (), patience: float = 0.0
    ) -> Reply:
        """Send a command and give its answer. A caller that is cancelled leaves it to the server.

        :param changes: whether it may change something.
        :param after: a command that blocks, sent before it; its answer does not matter.
        :param patience: seconds for which that may block.
        :raises redis.exceptions.RedisError: the server refused it.
        :raises BackendUnavailable: not sent, or not answered and ``changes`` is false.
        :raises OutcomeUnknown: sent and not answered.
        """
        packed = pack(after) + pack(command) if after else pack(command)
        connection = await self._ready()
        future: asyncio.Future[Reply] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout + patience
        if after:
            self._waiting.append(_Waiting(None, deadline, False, 0))
        self._waiting.append(_Waiting(future, deadline, changes, len(packed)))
        self._unanswered += len(packed)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._watch)
        try:
            await send(connection, packed)
        except asyncio.CancelledError:
            if not future.cancel():
                future.exception()  # seen: nobody else will ask
            raise
        except OSError as exc:
            self._hang_up(exc)
        return await future

    async def close(self) -> None:
        """Hang up; whoever still waits is told."""
        self._closed = True
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.wait([self._dialing])
        reader = self._reader
        self._hang_up(BackendClosed("closed"))
        if reader is not None:
            await asyncio.wait([reader])

    def _check(self) -> None:
        if self._closed:
            raise BackendClosed(f"the connection to Redis at {self.where} was closed")

    async def _dial(self) -> None:
        connection = await self.dialer.dial()
        if self._closed:
            await connection.disconnect(nowait=True)
            return
        self._connection, self._leaving = connection, False
        self._reader = asyncio.create_task(self._read(connection))

    def _dialed(self, task: asyncio.Task[None]) -> None:
        self._dialing = None
        if not task.cancelled():
            task.exception()  # seen: whoever waited was told, and nobody may be left to

    async def _ready(self) -> Connection:
        """A connection to say something on: not one that is being left, or it would never fall silent."""
        while (connection := self._connection) is None or self._leaving:
            self._check()
            if connection is None or self._reader is None:
                await self.open()
            else:
                await asyncio.wait([self._reader])
        self._check()
        return connection

    async def _read(self, connection: Connection) -> None:
        try:
            while True:
                try:
                    reply: Reply = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
                except client.RedisError as exc:
                    if not refused(exc):
                        raise
                    self._answer(error=exc)
                    self._leaving = self._leaving or elsewhere(code_of(exc))
                else:
                    self._answer(reply)
                if self._leaving and not self._waiting:
                    raise client.ConnectionError("the server is not the primary")
        except (client.RedisError, OSError) as exc:
            if connection is self._connection:
                self._hang_up(exc)

    def _answer(self, reply: Reply = None, error: Exception | None = None) -> None:
        if not self._waiting:
            raise client.InvalidResponse("it answers what nobody asked")
        future, _, _, size = self._waiting.popleft()
        self._unanswered -= size
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(reply)

    def leave(self) -> None:
        """This server is not the one to ask: connect anew for the next command."""
        if self._waiting:
            self._leaving = True
        else:
            self._hang_up(client.ConnectionError("the server is not the primary"))

    def _watch(self) -> None:
        """Give up on a server of which nothing is heard, although it is late."""
        self._timer = None
        if not self._waiting or self._connection is None:
            return
        deadline = min(waiting.deadline for waiting in self._waiting) + self._unanswered / _SPEED
        if (deadline := max(deadline, heard(self._connection) + self._timeout)) > self._loop.time():
            self._timer = self._loop.call_at(deadline, self._watch)
        else:
            self._hang_up(client.TimeoutError(f"no answer within {self._timeout:g} s"))

    def _hang_up(self, exc: BaseException) -> None:
        connection, self._connection = self._connection, None
        reader, self._reader = self._reader, None
        waiting, self._waiting, self._unanswered = self._waiting, deque(), 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
        if connection is not None:
            cut(connection)
        for one in waiting:
            if one.future is not None and not one.future.done():
                one.future.set_exception(self._loss(exc, one.changes))

    def _loss(self, exc: BaseException, changes: bool) -> Exception:
        if isinstance(exc, BackendError) and not changes:
            return exc
        error = lost(exc, self.where, changes=changes)
        error.__cause__ = exc
        return error
