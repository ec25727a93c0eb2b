"""Connecting, closing, namespaces, and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from ...abc.transport import Transport
from ...errors import BackendClosed, BackendError, ConfigurationError
from ..kit import conformance, skip
from ..rules import check, fail, refuses
from .rig import LONG, Rig, TransportCases, ids, listed, now, publication

_LAST = "look again at the end of connect(): a disconnect that was called meanwhile has the last word"
_GUARD = "check at the start of each method that the instance is connected"


async def _consume(transport: Transport) -> None:
    async with transport.consume(["work"], lease=LONG):
        pass


_CALLS: dict[str, Callable[[Transport], Awaitable[object]]] = {
    "publish": lambda t: t.publish(publication()),
    "consume": _consume,
    "renew": lambda t: t.renew(["token"]),
    "queues": lambda t: t.queues("work"),
    "peek": lambda t: t.peek("work"),
    "purge": lambda t: t.purge("work"),
}


class Lifecycle(TransportCases):
    """T01 to T03, T06."""

    def make_unreachable(self, tmp_path: Path) -> Transport | None:
        """Optional: an instance whose backend cannot be reached; ``None`` where there is no such thing."""
        return None

    @conformance()
    async def test_T01_connect_and_disconnect_are_idempotent(self, rig: Rig) -> None:
        transport = rig.make()
        await transport.disconnect()
        await transport.connect()
        await transport.connect()
        await transport.publish(publication())
        found = await rig.collect(transport, want=1)
        check(
            ids(found) == ["m-1"], "T01", f"connected twice, received {ids(found)}", "let a second connect do nothing"
        )
        await transport.disconnect()
        await transport.disconnect()

    @conformance()
    async def test_T01_one_disconnect_undoes_two_connects(self, rig: Rig) -> None:
        transport = rig.make()
        await transport.connect()
        await transport.connect()
        await transport.disconnect()
        with refuses(BackendClosed, "T01", "publish after connect, connect, disconnect", "do not count connects"):
            await transport.publish(publication())

    @conformance()
    async def test_T01_async_with_connects_and_disconnects(self, rig: Rig) -> None:
        transport = rig.make()
        async with transport as entered:
            check(entered is transport, "T01", f"'async with' gave {entered!r}", "return self from __aenter__")
            await transport.publish(publication())
        with refuses(BackendClosed, "T01", "publish after 'async with'", "call disconnect in __aexit__"):
            await transport.publish(publication())

    @conformance()
    async def test_T01_reconnects(self, rig: Rig) -> None:
        await rig.open()  # keeps a backend alive that is gone with its last user
        transport = await rig.open()
        await transport.publish(publication(1))
        await transport.disconnect()
        await transport.connect()
        await transport.publish(publication(2))
        found = await rig.collect(transport, want=2)
        check(
            ids(found) == ["m-1", "m-2"],
            "T01",
            f"published m-1, reconnected, published m-2, received {ids(found)}",
            "build everything that belongs to a connection in connect()",
        )

    @conformance()
    async def test_T02_closed_before_connect(self, rig: Rig) -> None:
        transport = rig.make()
        for name, call in _CALLS.items():
            with refuses(BackendClosed, "T02", f"{name} before connect", _GUARD):
                await call(transport)

    @conformance()
    async def test_T02_closed_after_disconnect(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.disconnect()
        for name, call in _CALLS.items():
            with refuses(BackendClosed, "T02", f"{name} after disconnect", _GUARD):
                await call(transport)

    @conformance()
    async def test_T02_deliveries_close_with_their_transport(self, rig: Rig) -> None:
        keeper, transport = await rig.open(), await rig.open()
        await keeper.publish(publication())
        async with rig.receiving(transport) as receiver:
            delivery = await receiver.one("T11")
            await transport.disconnect()
            with refuses(BackendClosed, "T02", "settle after disconnect", "check the transport in settle()"):
                await delivery.settle()
            with refuses(BackendClosed, "T02", "release after disconnect", "check the transport in release()"):
                await delivery.release()

    @conformance()
    async def test_T02_disconnect_ends_a_waiting_receive(self, rig: Rig) -> None:
        transport = await rig.open()
        async with transport.consume(["work"], lease=LONG) as consumer:
            task = asyncio.create_task(consumer.receive(1))
            await asyncio.sleep(rig.quiet / 5)
            await transport.disconnect()
            await asyncio.wait([task], timeout=rig.patience)
            check(task.done(), "T02", "receive still waits after disconnect", "wake waiting receivers in disconnect()")
            with refuses(
                BackendClosed, "T02", "receive, its transport disconnected while it waits", "raise BackendClosed"
            ):
                await task

    @conformance()
    async def test_T02_disconnect_ends_a_connect_under_way(self, rig: Rig) -> None:
        await (await rig.open()).disconnect()  # begins what all instances share
        before, start = asyncio.all_tasks(), now()
        transport = await rig.open()
        took = now() - start
        await transport.disconnect()
        for n in range(20):  # the first turns of the event loop one by one, then the whole way in twelfths
            await _disconnected(rig, turns=min(n, 8), pause=took * max(0, n - 8) / 12)
            left = asyncio.all_tasks() - before
            if left:
                _, left = await asyncio.wait(left, timeout=rig.patience)
            check(not left, "T02", f"after a disconnect during connect there go on {left}", "end what was begun")

    @conformance()
    async def test_T03_an_unreachable_backend_is_a_backend_error(self, rig: Rig) -> None:
        transport = self.make_unreachable(rig.tmp_path)
        if transport is None:
            skip("make_unreachable() returns None: this backend cannot be out of reach")
        try:
            await transport.connect()
        except (BackendError, ConfigurationError) as exc:
            check(exc.__cause__, "T03", f"{exc!r} has no cause", "map errors with 'raise ... from exc'")
        except Exception as exc:
            fail("T03", f"connect raised {exc!r}", "map the client library's errors in one function")
        else:
            await transport.disconnect()
            fail("T03", "connect succeeded", "return an unreachable instance, or None, from make_unreachable()")

    @conformance()
    async def test_T06_namespaces_do_not_meet(self, rig: Rig) -> None:
        first = await rig.open()
        self.namespace += "-b"
        second = await rig.open()
        await first.publish(publication())
        async with rig.receiving(second) as receiver:
            await receiver.silence(
                "T06", "a message of another namespace", "put the namespace into every queue name or key"
            )
        queues = await listed(second) or {}
        busy = "work" in queues and queues["work"].ready > 0
        check(not busy, "T06", "queues() lists another namespace", "filter by namespace")
        purged = await second.purge("work")
        check(purged == 0, "T06", f"purge deleted {purged} messages of another namespace", "filter by namespace")
        found = await rig.collect(first, want=1)
        check(ids(found) == ["m-1"], "T06", f"its own namespace received {ids(found)}", "deliver within the namespace")

    @conformance()
    async def test_T06_queue_names_are_not_interpreted(self, rig: Rig) -> None:
        transport = await rig.open()
        names = ["a", "a.b", "a-b", "a_b", "a.b.dead", "a..b", "0", "a.", "x" * 105]
        await transport.publish(*(publication(n, name) for n, name in enumerate(names)))
        everything = await asyncio.gather(*(rig.collect(transport, name, want=1) for name in names))
        for n, (name, found) in enumerate(zip(names, everything, strict=True)):
            check(
                ids(found) == [f"m-{n}"],
                "T06",
                f"queue {name!r} received {ids(found)}, not ['m-{n}']",
                "escape queue names so that '.', '-' and '_' mean nothing to the backend",
            )


async def _disconnected(rig: Rig, *, turns: int, pause: float) -> None:
    """Connect twice at once and disconnect meanwhile, after some turns of the event loop and a pause."""
    transport = rig.make()
    connecting = [asyncio.create_task(transport.connect()) for _ in range(2)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await asyncio.sleep(pause)
    await transport.disconnect()
    _, waiting = await asyncio.wait(connecting, timeout=rig.patience)
    check(not waiting, "T02", "connect still waits after disconnect", "wake what connects in disconnect()")
    ends = await asyncio.gather(*connecting, return_exceptions=True)
    wrong = [end for end in ends if end is not None and not isinstance(end, BackendClosed)]
    check(not wrong, "T02", f"connect, disconnected half-way, raised {wrong}", "raise BackendClosed")
    with refuses(BackendClosed, "T02", "queues after a disconnect during connect", _LAST):
        await transport.queues("work")
