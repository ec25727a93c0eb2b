"""What publish promises."""

from __future__ import annotations

from ...errors import ConfigurationError, MessageTooLarge, RevisionConflict
from ...model.message import Message, Publication
from ...model.store import ABSENT, Write
from ..kit import conformance, skip
from ..rules import check, refuses
from .rig import Rig, TransportCases, ids, now, publication

_BODIES = {"empty": b"", "all-bytes": bytes(range(256)), "large": bytes(100 * 1024)}
_DELAY = 0.5


class Publishing(TransportCases):
    """T05, T10 to T15."""

    @conformance()
    async def test_T05_one_publish_is_one_message(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication())
        found = await rig.collect(transport, want=1)
        check(
            ids(found) == ["m-1"],
            "T05",
            f"one publish, received {ids(found)}",
            "send once; switch off the retries of the client library",
        )

    @conformance()
    async def test_T10_messages_arrive_as_they_were_sent(self, rig: Rig) -> None:
        transport = await rig.open()
        largest = rig.capabilities.max_message
        for name, body in _BODIES.items():
            sent = Message(
                f"id {name} é.:/*", body[:largest], {"content-type": "text/plain", "x-é": "ü\n\t ", "empty": ""}
            )
            await transport.publish(Publication("work", sent))
            found = await rig.collect(transport, want=1)
            same = [(m.id, m.body, dict(m.headers)) for m in found]
            check(
                same == [(sent.id, sent.body, dict(sent.headers))],
                "T10",
                f"sent {_brief(sent)}, received {[_brief(m) for m in found]}",
                "carry id, headers and body unchanged; encode what the backend cannot hold",
            )

    @conformance()
    async def test_T10_headers_are_those_at_publish(self, rig: Rig) -> None:
        transport = await rig.open()
        headers = {"key": "before"}
        await transport.publish(Publication("work", Message("m-1", b"", headers)))
        headers["key"] = "after"
        [found] = await rig.collect(transport, want=1)
        check(found.headers["key"] == "before", "T10", "the sender's dictionary was kept", "copy headers in publish()")

    @conformance()
    async def test_T10_all_publications_of_a_call_arrive(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n, f"q-{n % 3}") for n in range(30)))
        for queue in range(3):
            found = await rig.collect(transport, f"q-{queue}", want=10)
            wanted = sorted(f"m-{n}" for n in range(queue, 30, 3))
            check(ids(found) == wanted, "T10", f"of {wanted} received {ids(found)}", "send every publication")

    @conformance()
    async def test_T10_messages_outlive_their_publisher(self, rig: Rig) -> None:
        receiver, publisher = await rig.open(), await rig.open()
        await publisher.publish(*(publication(n) for n in range(20)))
        await publisher.disconnect()
        found = await rig.collect(receiver, want=20)
        check(
            len(found) == 20,
            "T10",
            f"20 messages published, then disconnected; received {len(found)}",
            "return from publish only when the backend has confirmed",
        )

    @conformance(needs="durable")
    async def test_T10_messages_outlive_all_instances(self, rig: Rig) -> None:
        publisher = await rig.open()
        await publisher.publish(publication())
        await publisher.disconnect()
        found = await rig.collect(await rig.open(), want=1)
        check(ids(found) == ["m-1"], "T10", f"received {ids(found)}", "declare durable=False if nothing is kept")

    @conformance()
    async def test_T11_publish_before_anyone_consumes(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication())
        found = await rig.collect(await rig.clone(transport), want=1)
        check(ids(found) == ["m-1"], "T11", f"received {ids(found)}", "create the queue in publish()")

    @conformance()
    async def test_T11_consume_before_anyone_publishes(self, rig: Rig) -> None:
        transport = await rig.open()
        async with rig.receiving(transport) as receiver:
            await receiver.silence("T11", "nothing was published", "deliver only what was published")
            await (await rig.clone(transport)).publish(publication())
            await (await receiver.one("T11")).settle()

    @conformance(needs="max_delay")
    async def test_T12_delayed_messages_come_in_time(self, rig: Rig) -> None:
        transport = await rig.open()
        async with rig.receiving(transport) as receiver:
            start = now()
            await transport.publish(publication(1, delay=_DELAY))
            delivery = await receiver.one("T12")
            waited = now() - start
            await delivery.settle()
        check(
            waited >= _DELAY * 0.98,
            "T12",
            f"delay {_DELAY} s, received after {waited:.3f} s",
            "hold the message back; a backend that cannot declares max_delay=0",
        )

    @conformance(needs="max_delay")
    async def test_T12_a_delay_holds_up_no_other_message(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication("late", delay=_DELAY * 2), publication("soon", delay=_DELAY))
        await transport.publish(publication("now"))
        async with rig.receiving(transport) as receiver:
            order: list[str] = []
            for _ in range(3):
                delivery = await receiver.one("T12")
                order.append(delivery.message.id)
                await delivery.settle()
        check(
            order == ["m-now", "m-soon", "m-late"],
            "T12",
            f"received in the order {order}",
            "keep delayed messages apart from ready ones, ordered by their time",
        )

    @conformance(needs="max_delay")
    async def test_T12_a_shorter_delay_shortens_the_wait(self, rig: Rig) -> None:
        transport = await rig.open()
        async with rig.receiving(transport) as receiver:
            await transport.publish(publication("late", delay=3600 if self._unbounded() else _DELAY * 3))
            await receiver.silence("T12", "delayed message", "hold it back")
            await transport.publish(publication("soon", delay=_DELAY))
            found = await receiver.get(1)
        check(
            ids(found) == ["m-soon"],
            "T12",
            f"waiting for a late message, then a sooner one was published: received {ids(found)}",
            "recompute the next wake-up whenever a message is published",
        )

    @conformance(needs="atomic_writes")
    async def test_T13_writes_and_publications_are_one_act(self, rig: Rig) -> None:
        transport = await rig.open()
        store = rig.store(transport)
        await transport.publish(publication(1), writes=[Write("a/1", b"one", ABSENT), Write("a/2", b"two")])
        with refuses(RevisionConflict, "T13", "publish with a write that expects ABSENT, present", "check expected"):
            await transport.publish(publication(2), writes=[Write("a/3", b"three"), Write("a/1", b"again", ABSENT)])
        values = {entry.key: entry.value for entry in await store.scan("a/")}
        check(
            values == {"a/1": b"one", "a/2": b"two"},
            "T13",
            f"after one good and one conflicting publish the store holds {values}",
            "check every expectation before the first write, in one transaction",
        )
        found = await rig.collect(transport, want=1)
        check(ids(found) == ["m-1"], "T13", f"received {ids(found)}", "publish only if every write may take place")

    @conformance()
    async def test_T13_writes_are_refused_without_atomic_writes(self, rig: Rig) -> None:
        if rig.capabilities.atomic_writes:
            skip("atomic_writes is declared")
        transport = await rig.open()
        write = Write("a/1", b"one")
        with refuses(ConfigurationError, "T13", "publish with writes", "refuse writes you cannot make atomic"):
            await transport.publish(publication(1), writes=[write])
        await transport.publish(publication(2))
        async with rig.receiving(transport) as receiver:
            delivery = await receiver.one("T11")
            check(delivery.message.id == "m-2", "T13", "the refused message was sent", "refuse before sending")
            with refuses(ConfigurationError, "T63", "settle with writes", "refuse writes you cannot make atomic"):
                await delivery.settle(writes=[write])

    @conformance()
    async def test_T14_too_large_a_message_sends_nothing(self, rig: Rig) -> None:
        limit = rig.capabilities.max_message
        if limit is None:
            skip("not declared: max_message")
        transport = await rig.open()
        large = Publication("work", Message("large", bytes(limit + 1)))
        with refuses(MessageTooLarge, "T14", "a body of max_message + 1 bytes", "check all sizes before sending"):
            await transport.publish(publication(1), large)
        await transport.publish(Publication("work", Message("fits", bytes(limit))))
        found = await rig.collect(transport, want=1)
        check(ids(found) == ["fits"], "T14", f"received {ids(found)}", "accept max_message bytes, and nothing beside")

    @conformance()
    async def test_T14_too_long_a_delay_sends_nothing(self, rig: Rig) -> None:
        limit = rig.capabilities.max_delay
        if limit is None:
            skip("max_delay is None: any delay")
        transport = await rig.open()
        with refuses(ConfigurationError, "T14", f"a delay over {limit} s", "check delays against max_delay"):
            await transport.publish(publication(1), publication(2, delay=limit + 1))
        check(
            await rig.collect(transport, want=0) == [], "T14", "something was sent", "check all delays before sending"
        )

    @conformance(needs="dedup_window")
    async def test_T15_repeats_within_the_window_are_dropped(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(publication(1), publication(1, "other"))
        await transport.publish(publication(1))
        found = await rig.collect(transport, want=1)
        check(ids(found) == ["m-1"], "T15", f"received {ids(found)}", "declare dedup_window=0")
        other = await rig.collect(transport, "other", want=1)
        check(ids(other) == ["m-1"], "T15", f"another queue received {ids(other)}", "deduplicate queue by queue")

    @conformance()
    async def test_T15_without_a_window_every_publish_adds_a_message(self, rig: Rig) -> None:
        if rig.capabilities.dedup_window:
            skip("dedup_window is declared")
        transport = await rig.open()
        await transport.publish(publication(1), publication(1))
        await transport.publish(publication(1))
        found = await rig.collect(transport, want=3)
        check(len(found) == 3, "T15", f"published 3 times, received {len(found)}", "declare the dedup_window you have")

    def _unbounded(self) -> bool:
        return self.capabilities.max_delay is None


def _brief(message: Message) -> str:
    return f"{message.id!r} {dict(message.headers)} {len(message.body)} bytes"
