"""A network that can fail: a TCP proxy in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Literal, Self, TypeAlias

from rig.ports import HOST, free_port

State: TypeAlias = Literal["open", "cut", "refusing"]
CHUNK = 65536
STARTING = 10.0


class Proxy:
    """Passes bytes between clients and ``host:port``, until told otherwise. Started at once; a context manager.

    :param delay: seconds that every chunk is held back, in each direction: a slow network.
    """

    def __init__(self, host: str, port: int, *, delay: float = 0.0) -> None:
        self.host, self.target, self.port, self.delay = HOST, (host, port), 0, delay
        self._state: State = "open"
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._listen())

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return len(self._tasks)

    def cut(self) -> None:
        """A black hole: connections stay open and new ones are accepted, but no byte passes. ``heal`` delivers them."""
        self._call(self._become("cut"))

    def refuse(self) -> None:
        """Close every connection, and refuse new ones."""
        self._call(self._become("refusing"))

    def drop(self) -> None:
        """Close every connection; new ones are welcome."""
        self._call(self._drop())

    def heal(self) -> None:
        """Pass everything again, what was held back included."""
        self._call(self._become("open"))

    def close(self) -> None:
        """Close all. Idempotent."""
        if self._loop.is_closed():
            return
        self._call(self._become("refusing"))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(STARTING)

    async def _become(self, state: State) -> None:
        self._state = state
        if state == "open":
            self._passing.set()
            await self._listen()
        elif state == "cut":
            self._passing.clear()
            await self._listen()
        else:
            await self._unlisten()
            await self._drop()

    async def _listen(self) -> None:
        if self._server is not None:
            return
        if self._state == "open":
            self._passing.set()
        for attempt in range(20):
            try:
                port = self.port or free_port()
                self._server = await asyncio.start_server(self._accept, HOST, port)
                self.port = port
                return
            except OSError:
                if self.port or attempt == 19:
                    raise

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _drop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            await self._passing.wait()
            there, back = await asyncio.open_connection(*self.target)
            ends.append(back)
            pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is gone: so is the connection
        finally:
            for end in ends:
                end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._passing.wait()
                sink.write(chunk)
                await sink.drain()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
