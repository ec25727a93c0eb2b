"""What anyone who may publish to NATS can send: one bad message costs nobody but its sender anything."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from email import message_from_bytes
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from paigeant.abc import Consumer, Delivery
from paigeant.errors import BackendCorrupt, MessageTooLarge
from paigeant.model.message import Message, Publication
from paigeant_nats.settings import NatsSettings
from paigeant_nats.store import NatsStore
from paigeant_nats.transport import NatsTransport

PATIENCE = 8.0
"""Seconds: less than it takes to notice that a connection is silent."""


@pytest.fixture(params=[False, True], ids=["plain", "atomic"])
async def transport(request: pytest.FixtureRequest, nats_server: Any) -> AsyncIterator[NatsTransport]:
    settings = NatsSettings(url=nats_server.url, namespace=f"h-{uuid.uuid4().hex[:12]}", atomic=request.param)
    async with NatsTransport(settings) as connected:
        yield connected


@pytest.fixture
async def store(nats_server: Any) -> AsyncIterator[NatsStore]:
    settings = NatsSettings(url=nats_server.url, namespace=f"h-{uuid.uuid4().hex[:12]}")
    async with NatsStore(settings) as connected:
        yield connected


async def send(server: Any, subject: bytes, headers: bytes = b"", body: bytes = b"x", reply: bytes = b"") -> None:
    """As no client library would."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    total = len(headers) + len(body)
    sizes = b"%d %d" % (len(headers), total) if headers else b"%d" % total
    words = [b"HPUB" if headers else b"PUB", subject, *([reply] if reply else []), sizes]
    writer.write(b" ".join(words) + b"\r\n" + headers + body + b"\r\nPING\r\n")
    assert (await reader.readline()).startswith(b"PONG")
    writer.close()
    await writer.wait_closed()


def headers_of(*lines: bytes) -> bytes:
    return b"\r\n".join([b"NATS/1.0", *lines, b"", b""])


async def take(consumer: Consumer, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += await consumer.receive(10)
    return found


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (b"\xff\xfe", b""),
        (b"a", b"XXXX"),
        (b"b", b"NATS/1.0"),
        (b"c", b"NATS/1.0 \xff\xfe\xfd \xff\r\n\r\n"),
        (b"d", headers_of(b"Paigeant-Not-Before: 1e300")),
        (b"f", headers_of(b"Paigeant-Id: \xff", b"\xff: \xff")),
    ],
)
async def test_a_bad_message_makes_nobody_deaf(
    transport: NatsTransport, nats_server: Any, token: bytes, headers: bytes
) -> None:
    prefix = f"paigeant.{transport.namespace}.q.work.".encode()
    async with transport.consume(["work"], lease=30) as consumer:
        waiting = asyncio.create_task(take(consumer, 1))
        await send(nats_server, prefix + token, headers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(waiting)
        await transport.publish(Publication("work", Message("good", b"")))
        found = await waiting
        if b"Not-Before" not in headers:
            found += await take(consumer, 2 - len(found))
        for delivery in found:
            assert delivery.message.id.encode()  # plain text, whatever it was
            await delivery.settle(Publication("work.dead", delivery.message))
        assert "good" in [delivery.message.id for delivery in found]
        async with asyncio.timeout(PATIENCE):
            while (await transport.queues("work"))["work"].ready:  # what replaced them is there for a second
                await asyncio.sleep(0.05)
    assert (await transport.queues("work"))["work"].in_flight == (1 if b"Not-Before" in headers else 0)


async def test_a_time_far_away_is_asked_about_once_an_hour(transport: NatsTransport, nats_server: Any) -> None:
    """The server cannot count so far, and would send it again at once, for ever."""
    subject = f"paigeant.{transport.namespace}.q.work.far".encode()
    await send(nats_server, subject, headers_of(b"Paigeant-Not-Before: 1e15"))
    async with transport.consume(["work"], lease=30) as consumer:
        receiving = asyncio.create_task(consumer.receive(1))
        await asyncio.sleep(1.0)
        info = await transport._queues._consumer("work")
        assert info is not None
        assert info["delivered"]["consumer_seq"] <= 2
        receiving.cancel()
        await asyncio.wait([receiving])


async def test_purge_leaves_a_time_far_away_alone(transport: NatsTransport, nats_server: Any) -> None:
    async with transport.consume(["work"], lease=30):
        pass
    subject = f"paigeant.{transport.namespace}.q.work.far".encode()
    await send(nats_server, subject, headers_of(b"Paigeant-Not-Before: 1e300"))
    await transport.publish(Publication("work", Message("m", b"")))
    assert await transport.purge("work") == 1


async def test_a_header_that_looks_like_a_status_hides_nothing_from_peek(
    transport: NatsTransport, nats_server: Any
) -> None:
    prefix = f"paigeant.{transport.namespace}.q.work.".encode()
    for token, status in ((b"a", b"404"), (b"b", b"503"), (b"c", b"100")):
        await send(nats_server, prefix + token, headers_of(b"Status: " + status), b"")
    await transport.publish(Publication("work", Message("good", b"")))
    assert [message.id for message in await transport.peek("work")] == ["a", "b", "c", "good"]


async def test_a_parser_of_mail_in_the_same_environment_changes_no_header(
    transport: NatsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py takes one where it finds it, as its extra ``fast-parse`` installs it."""

    def parse(raw: bytes) -> Any:
        return SimpleNamespace(headers={key: [value] for key, value in message_from_bytes(raw).items()})

    monkeypatch.setattr("nats.aio.client.parse_email", parse)
    message = Message("m 1", b"x", {"word": "=?utf-8?q?a_b?=", "line": "a\r\n b: \u20ac"})
    async with transport.consume(["work"], lease=30) as consumer, asyncio.timeout(PATIENCE):
        await transport.publish(Publication("work", message))
        [delivery] = await consumer.receive(1)
        assert delivery.message == message
        await delivery.settle()


async def test_what_was_received_without_room_for_headers_is_passed_on(
    transport: NatsTransport, nats_server: Any
) -> None:
    assert transport.capabilities.max_message is not None
    most, prefix = transport.capabilities.max_message, f"paigeant.{transport.namespace}.q.work.".encode()
    async with transport.consume(["work"], lease=30) as consumer:
        await send(nats_server, prefix + b"large", body=bytes(most + 4096))
        [delivery] = await take(consumer, 1)
        with pytest.raises(MessageTooLarge, match="max_payload"):
            await delivery.settle(Publication("next", Message("more", bytes(most + 4097))))
        letter = replace(delivery.message, headers={"error": "e"})
        await delivery.settle(Publication("work.dead", letter))
    assert await transport.peek("work.dead") == [letter]


async def test_odd_hints_do_not_stop_timers(store: NatsStore, nats_server: Any) -> None:
    prefix = f"paigeant.{store.namespace}.d.".encode()
    odd = ["1." + "9" * 400 + ".a", "9" * 5000 + ".1.a", "1.².a", "².1.a", "1..a".replace("..", ".x."), "1.1.a$b"]
    for subject in odd:
        if len(subject) < 3000:
            await send(nats_server, prefix + subject.encode())
    await send(nats_server, prefix + b"1.1.\xff")
    now = await store.now()
    await store.put("good", b"", due=now - 1)
    assert "good" in await store.due(now)


async def test_one_foreign_entry_stops_neither_timers_nor_scans(store: NatsStore, nats_server: Any) -> None:
    now = await store.now()
    for key in ("a", "b", "c"):
        await store.put(key, b"ours", due=now - 1)
    await send(nats_server, f"paigeant.{store.namespace}.e.b".encode(), body=b"not ours")
    assert {"a", "c"} <= set(await store.due(now))
    assert {"a", "c"} == {entry.key for entry in await store.scan("")}
    with pytest.raises(BackendCorrupt):
        await store.get("b")


async def test_a_lie_about_a_change_does_not_stop_a_watcher(store: NatsStore, nats_server: Any) -> None:
    subject = f"paigeant.{store.namespace}.w.a".encode()
    changes = store.watch("a")
    assert await anext(changes) is None
    told = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.1)
    await send(nats_server, subject, b"XXXX")
    await send(nats_server, subject, headers_of(b"Nats-Sequence: 7"), reply=b"\xff")
    await send(nats_server, subject, headers_of("Nats-Sequence: ²".encode()))
    await asyncio.sleep(0.1)
    await store.put("a", b"one")
    async with asyncio.timeout(PATIENCE):
        entry = await told
    assert entry is not None
    assert entry.value == b"one"
    await changes.aclose()
