"""Renewing leases, and the death of a consumer."""

from __future__ import annotations

import asyncio
import threading
import time

from ...abc.transport import Transport
from ..child import Child
from ..kit import conformance, skip
from ..rules import check
from .rig import LONG, Rig, TransportCases, ids, now, publication

_TRIES = 5  # of a test that a stalled machine can spoil


class Leases(TransportCases):
    """T23, T30 to T32, and T10 with a real kill."""

    @conformance(needs="renewable")
    async def test_T30_renewing_keeps_the_lease(self, rig: Rig) -> None:
        transport = await rig.open()
        for attempt in range(_TRIES):
            queue = f"work-{attempt}"
            await transport.publish(publication(1, queue))
            async with rig.receiving(transport, queue, lease=rig.lease) as a:
                delivery = await a.one("T11")
                async with rig.receiving(transport, queue, lease=rig.lease) as b:
                    if not await self._keep(rig, transport, delivery.lease_token):
                        continue
                    await b.silence(
                        "T30", "renewed for two leases", "extend the lease in renew()", lasting=rig.lease / 10
                    )
                    await delivery.settle()
            return
        skip(f"the machine stalled for most of a lease of {rig.lease} s, {_TRIES} times; raise `lease`")

    @conformance(needs="renewable")
    async def test_T30_renew_returns_what_is_lost(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n) for n in range(3)))
        tokens: list[str] = []
        async with rig.receiving(transport) as receiver:
            for _ in range(3):
                delivery = await receiver.one("T11")
                tokens.append(delivery.lease_token)
                if len(tokens) == 1:
                    await delivery.settle()
            check(len(set(tokens)) == 3, "T30", f"the lease tokens are {tokens}", "give every receipt its own token")
            lost = await transport.renew([*tokens, "no such token", ""])
            check(
                lost == {tokens[0], "no such token", ""},
                "T30",
                f"one settled, two held, two unknown: renew returned {lost}",
                "return the tokens that are no longer owned, and raise for none",
            )
            check(await transport.renew([]) == set(), "T30", "renew of nothing returned something", "return set()")

    @conformance(needs="renewable")
    async def test_T30_an_ended_lease_is_lost_for_good(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication())
        async with rig.receiving(transport, lease=rig.lease) as a, rig.receiving(transport, lease=rig.lease) as b:
            stale = await a.one("T11")
            await b.one("T20")
            lost = await transport.renew([stale.lease_token])
            check(lost == {stale.lease_token}, "T30", f"another has it, renew returned {lost}", "compare the token")

    @conformance(needs="renewable", real=True)
    async def test_T31_another_thread_renews_while_the_loop_is_blocked(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication())
        async with rig.receiving(transport, lease=rig.lease) as a:
            delivery = await a.one("T11")
            with _Heartbeat(transport.clone(), delivery.lease_token, rig.lease / 5) as heartbeat:
                time.sleep(rig.lease * 2)  # noqa: ASYNC251 - this is what an activity that blocks does
            check(heartbeat.error is None, "T31", f"renew raised {heartbeat.error!r}", "let a clone have its own loop")
            if heartbeat.longest_gap > rig.lease * 0.8:
                skip("the machine stalled for most of a lease; raise `lease`")
            check(
                not heartbeat.lost,
                "T31",
                f"the clone was told that {heartbeat.lost} is lost",
                "let any instance renew by token",
            )
            async with rig.receiving(transport, lease=rig.lease) as b:
                await b.silence("T31", "renewed by a clone", "extend the lease for everyone", lasting=rig.lease / 10)
                await delivery.settle()

    @conformance()
    async def test_T32_without_renewable_nothing_is_lost(self, rig: Rig) -> None:
        if rig.capabilities.renewable:
            skip("renewable is declared")
        transport = await rig.open()
        await transport.publish(publication())
        async with rig.receiving(transport) as receiver:
            delivery = await receiver.one("T11")
            lost = await transport.renew([delivery.lease_token])
            check(lost == set(), "T32", f"renew returned {lost}", "return an empty set while connected")

    @conformance(needs="persistent_queues", real=True)
    async def test_T23_a_killed_consumer_loses_nothing(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n) for n in range(5)))
        async with rig.receiving(transport, lease=rig.lease):
            pass
        with Child(self, rig.tmp_path, "hold", str(rig.lease)) as child:
            told = await asyncio.to_thread(child.line, rig.patience)
            check(told.startswith("holds"), "T23", f"the other process said {told!r}", "see its output above")
            child.kill()
        found = await rig.collect(transport, want=5, lease=rig.lease)
        check(
            ids(found) == [f"m-{n}" for n in range(5)],
            "T23",
            f"a process that held 5 messages was killed; received {ids(found)} within {rig.patience:g} s",
            "let leases end by themselves",
        )

    @conformance(needs="persistent_queues", real=True)
    async def test_T10_a_killed_publisher_loses_nothing(self, rig: Rig) -> None:
        await rig.open()
        with Child(self, rig.tmp_path, "publish", str(LONG)) as child:
            told = await asyncio.to_thread(child.line, rig.patience)
            check(told.startswith("published"), "T10", f"the other process said {told!r}", "see its output above")
            child.kill()
        found = await rig.collect(await rig.open(), want=5)
        check(
            ids(found) == [f"m-{n}" for n in range(5)],
            "T10",
            f"5 messages were published by a process killed right after; received {ids(found)}",
            "return from publish only when the backend has confirmed",
        )

    async def _keep(self, rig: Rig, transport: Transport, token: str) -> bool:
        """Renew for two leases; ``False`` if the machine stalled so that this shows nothing."""
        end, last = now() + 2 * rig.lease, now()
        while now() < end:
            await asyncio.sleep(rig.lease / 5)
            lost = await transport.renew([token])
            gap, last = now() - last, now()
            if gap > rig.lease * 0.8:
                return False
            check(not lost, "T30", f"renewed in time, but {lost} is lost", "extend the lease in renew()")
        return True


class _Heartbeat:
    """Renews one token from a thread with an event loop and an instance of its own."""

    def __init__(self, transport: Transport, token: str, interval: float) -> None:
        self.lost: set[str] = set()
        self.error: BaseException | None = None
        self.longest_gap = 0.0
        self._last = time.monotonic()
        self._transport, self._token, self._interval = transport, token, interval
        self._stop, self._beating = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Heartbeat:
        self._thread.start()
        self._beating.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._beat())
        except Exception as exc:
            self.error = exc
        finally:
            self._beating.set()

    async def _beat(self) -> None:
        async with self._transport:
            while not self._stop.is_set():
                self.lost |= await self._transport.renew([self._token])
                self._beating.set()
                self.longest_gap = max(self.longest_gap, time.monotonic() - self._last)
                self._last = time.monotonic()
                await asyncio.sleep(self._interval)
