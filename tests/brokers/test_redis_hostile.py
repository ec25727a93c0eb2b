"""Redis under hostile conditions: foreigners in the keys, cancelled closing, watchers that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest
import redis.asyncio as bare

import paigeant_redis.layout as layout
import paigeant_redis.watches as watches_module
from paigeant.errors import BackendClosed, BackendError, BackendUnavailable, ConfigurationError, OutcomeUnknown
from paigeant.model.store import ABSENT, Write
from paigeant_redis.dial import Dialer
from paigeant_redis.layout import read_message
from paigeant_redis.settings import RedisSettings
from paigeant_redis.store import RedisStore
from paigeant_redis.transport import RedisTransport
from paigeant_redis.wire import Wire
from rig.brokers import RedisServer
from rig.ports import free_port

from .redis_kit import PATIENCE, publication, repeat


@pytest.fixture
def settings(redis_server: Any) -> RedisSettings:
    return RedisSettings(url=redis_server.url, namespace=f"t-{uuid.uuid4().hex[:12]}")


async def test_watchers_hear_at_once_after_all_others_have_left(
    settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "_PING", 0.05)
    async with RedisTransport(settings) as transport, RedisTransport(settings) as other:
        store = transport.state_store()
        async with aclosing(store.watch("a")) as changes:
            await anext(changes)
        await asyncio.sleep(0.3)  # a sign of life is asked of the server meanwhile
        async with aclosing(store.watch("b")) as changes, asyncio.timeout(PATIENCE):
            await anext(changes)
            server = transport._link.server()
            while "b" not in server.watches._standing:
                assert server.watches._task is not None and not server.watches._task.done()
                await asyncio.sleep(0.01)
            await other.state_store().put("b", b"1")
            entry = await anext(changes)
        assert entry is not None and entry.value == b"1"


async def test_watchers_of_one_entry_that_come_and_go_cost_no_connection(
    settings: RedisSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They change no subscription, so the server is told of none: it must be asked for signs of life all the same."""
    monkeypatch.setattr(watches_module, "_PING", 1.0)
    async with RedisStore(settings.model_copy(update={"timeout": 1.0})) as store:
        watches = store._link.server().watches
        with watches.watching("a"):
            for _ in range(25):
                with watches.watching("a"):
                    await asyncio.sleep(0.1)
    assert not any("not heard of" in line for line in caplog.messages)


async def test_ten_thousand_queues_are_counted(settings: RedisSettings) -> None:
    names = [f"q{number}" for number in range(10_000)]
    async with RedisTransport(settings) as transport:
        await transport.publish(*(publication(1, name) for name in names))
        assert len(await transport.queues(*names)) == 10_000
        assert len(await transport.queues()) == 10_000


async def test_closing_that_is_cancelled_hangs_up(own_redis: RedisServer) -> None:
    transport = RedisTransport(RedisSettings(url=own_redis.url, timeout=30.0))
    await transport.connect()
    before = asyncio.all_tasks()
    own_redis.pause()
    try:
        publishing = asyncio.ensure_future(transport.publish(publication(1)))
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await transport.disconnect()
        with pytest.raises(BackendError):
            async with asyncio.timeout(PATIENCE):
                await publishing
        await asyncio.sleep(0)
        assert asyncio.all_tasks() & before == {asyncio.current_task()}
    finally:
        own_redis.resume()


@pytest.mark.filterwarnings("ignore:unclosed", "ignore:loop is closed")  # nobody hung up in time
def test_who_disconnects_only_after_the_loop_has_ended_is_served_again(settings: RedisSettings) -> None:
    transport = RedisTransport(settings)

    async def watch() -> None:
        await transport.connect()
        async for _ in transport.state_store().watch("a"):
            return

    async def begin_anew() -> None:
        await transport.disconnect()
        gc.collect()
        async with transport:
            await transport.publish(publication(1))

    asyncio.run(watch())
    asyncio.run(begin_anew())
    gc.collect()  # what was not hung up is told here, and in no other test


async def test_a_delayed_message_outlives_a_queue_that_a_foreigner_replaced(settings: RedisSettings) -> None:
    prefix = f"{{paigeant:{settings.namespace}}}"
    client = bare.Redis.from_url(settings.url or "")
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        await transport.publish(publication(1, delay=0.05))
        await client.delete(f"{prefix}:q:work")
        await client.set(f"{prefix}:q:work", "foreign")
        await asyncio.sleep(0.1)
        with pytest.raises(BackendError, match="another program"):
            async with asyncio.timeout(PATIENCE):
                await consumer.receive(1)
        await client.delete(f"{prefix}:q:work")
        async with asyncio.timeout(PATIENCE):
            (delivery,) = await consumer.receive(1)
        assert delivery.message.id == "m-1"
    await client.aclose()


async def test_one_damaged_queue_costs_the_others_no_delivery(settings: RedisSettings) -> None:
    prefix = f"{{paigeant:{settings.namespace}}}"
    client = bare.Redis.from_url(settings.url or "")
    async with RedisTransport(settings) as transport, transport.consume(["a", "b"], lease=30.0) as consumer:
        await client.set(f"{prefix}:l:b", "foreign")
        await transport.publish(publication(1, "a"))
        received = []
        for _ in range(3):
            try:
                async with asyncio.timeout(PATIENCE):
                    received += await consumer.receive(10)
            except BackendError as exc:
                assert "another program" in str(exc)
        assert [delivery.message.id for delivery in received] == ["m-1"]
        assert received[0].deliveries == 1
    await client.aclose()


async def test_a_foreign_group_does_not_mislead_purge_and_peek(settings: RedisSettings) -> None:
    stream = f"{{paigeant:{settings.namespace}}}:q:work"
    client = bare.Redis.from_url(settings.url or "")
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        await transport.publish(publication(1))
        await client.xgroup_create(stream, "audit", "0")  # sorts before ours
        (delivery,) = await consumer.receive(1)
        assert await transport.peek("work") == []
        assert await transport.purge("work") == 0
        await delivery.release()
        async with asyncio.timeout(PATIENCE):
            assert [again.message.id for again in await consumer.receive(1)] == ["m-1"]
    await client.aclose()


async def test_a_foreign_message_keeps_its_id(settings: RedisSettings) -> None:
    stream = f"{{paigeant:{settings.namespace}}}:q:work"
    client = bare.Redis.from_url(settings.url or "")
    async with RedisTransport(settings) as transport, transport.consume(["work"], lease=30.0) as consumer:
        entry = await client.xadd(stream, {"m": b"\xff\xfe garbage"})
        ids = set()
        for _ in range(2):
            async with asyncio.timeout(PATIENCE):
                (delivery,) = await consumer.receive(1)
            ids.add(delivery.message.id)
            await delivery.release()
        assert ids == {entry.decode()}
    await client.aclose()


async def test_peek_at_nothing(settings: RedisSettings) -> None:
    async with RedisTransport(settings) as transport:
        await transport.publish(publication(1))
        assert await transport.peek("work", 0) == []


def test_messages_share_no_headers_that_can_be_changed_and_large_ones_are_not_kept() -> None:
    data = b'id\n{"k":"v"}\nbody'
    first: Any = read_message(b"1-1", data).headers
    with pytest.raises(TypeError):
        first["k"] = "x"
    assert read_message(b"1-2", data).headers == {"k": "v"}
    layout._few_headers.cache_clear()
    assert len(read_message(b"1-3", b'id\n{"k":"' + b"v" * 100_000 + b'"}\nbody').headers["k"]) == 100_000
    assert layout._few_headers.cache_info().currsize == 0


@pytest.mark.parametrize(("rights", "allowed"), [("resetchannels", True), ("allchannels -xadd", False)])
async def test_a_missing_right_is_named_and_leaves_no_act_half_done(
    own_redis: RedisServer, rights: str, allowed: bool
) -> None:
    client = bare.Redis(port=own_redis.port)
    everything = RedisSettings(url=own_redis.url, namespace="acl")
    few = RedisSettings(url=f"redis://few:pw@127.0.0.1:{own_redis.port}", namespace="acl")
    await client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all", *rights.split())
    async with RedisTransport(everything) as other, RedisTransport(few) as transport:
        await other.publish(publication(1))
        async with transport.consume(["work"], lease=30.0) as consumer:
            (delivery,) = await consumer.receive(1)
            settling = delivery.settle(publication(2, "next"), writes=[Write("a", b"1", ABSENT)])
            if allowed:  # only watchers hear of nothing: they look by themselves
                await settling
            else:
                with pytest.raises(ConfigurationError, match="ACL SETUSER"):
                    await settling
        stats = await other.queues("work", "next")
        entry = await other.state_store().get("a")
        assert (stats["work"].in_flight, stats["next"].ready, entry is not None) == (
            (0, 1, True) if allowed else (1, 0, False)
        )
    await client.aclose()


@asynccontextmanager
async def stub(*answers: tuple[bytes, bytes]) -> AsyncIterator[int]:
    """The port of a server that answers commands that contain a word, and says OK to all others; none: is silent."""
    serving = set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while data := await reader.read(65536):
                for _ in range(data.count(b"*") if answers else 0):
                    writer.write(next((answer for word, answer in answers if word in data), b"+OK\r\n"))
        except ConnectionError:
            pass  # hung up
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)


def names(port: int) -> bytes:
    return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)


def owns(port: int) -> bytes:
    return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port


@pytest.mark.parametrize("gone", ["refuses", "is silent"])
@pytest.mark.parametrize(("mode", "word", "tells"), [("sentinel", b"SENTINEL", names), ("cluster", b"CLUSTER", owns)])
async def test_a_host_behind_the_times_does_not_stand_in_the_way(
    own_redis: RedisServer, mode: Any, word: bytes, tells: Any, gone: str
) -> None:
    async with stub() as silent:
        dead = silent if gone == "is silent" else free_port()
        async with stub((word, tells(dead))) as behind, stub((word, tells(own_redis.port))) as ahead:
            url = f"redis://127.0.0.1:{behind},127.0.0.1:{ahead}"
            for _ in range(8):  # they are asked in any order
                dialer = Dialer(RedisSettings(url=url, mode=mode, connect_timeout=1.0))
                connection = await dialer.dial()
                assert dialer.address.port == own_redis.port
                await connection.disconnect()


@pytest.mark.parametrize(("mode", "word", "tells"), [("sentinel", b"SENTINEL", names), ("cluster", b"CLUSTER", owns)])
async def test_silent_hosts_keep_nobody_from_the_others_for_good(
    own_redis: RedisServer, mode: Any, word: bytes, tells: Any
) -> None:
    """However many they are, and wherever they stand: the next attempt begins with those that were not asked."""
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(stub()) for _ in range(9)]
        ports.append(await stack.enter_async_context(stub((word, tells(own_redis.port)))))
        url = f"redis://{','.join(f'127.0.0.1:{port}' for port in ports)}"
        dialer = Dialer(RedisSettings(url=url, mode=mode, connect_timeout=0.3))
        connection: Any = await repeat(dialer.dial)
        await connection.disconnect()
        dialer.settings = dialer.settings.model_copy(update={"connect_timeout": 6 * PATIENCE})  # each has a third
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):  # and whoever led there is asked before those that were silent
                await (await dialer.dial()).disconnect()


@pytest.mark.parametrize("refusal", [b"BUSY Redis is busy running a script.", b"ERR something that no one knows"])
async def test_a_node_that_cannot_answer_now_does_not_stand_in_the_way(own_redis: RedisServer, refusal: bytes) -> None:
    """It says nothing of the cluster: other nodes are asked, and if there is none, it is out of reach for now."""
    async with stub((b"CLUSTER", b"-" + refusal + b"\r\n")) as busy, stub((b"CLUSTER", owns(own_redis.port))) as ahead:
        for _ in range(8):
            url = f"redis://127.0.0.1:{busy},127.0.0.1:{ahead}"
            await (await Dialer(RedisSettings(url=url, mode="cluster")).dial()).disconnect()
        with pytest.raises(BackendUnavailable, match=refusal.decode().split()[-1]):
            await Dialer(RedisSettings(url=f"redis://127.0.0.1:{busy}", mode="cluster")).dial()


HERE = b"$9\r\n127.0.0.1\r\n"
RANGE = b"*1\r\n*3\r\n:0\r\n:16383\r\n"
NONSENSE = {
    "sentinel": [b":5", b"+OK", b"*0", b"*2\r\n$-1\r\n$-1", b"*2\r\n%b$1\r\nx" % HERE, b"*2\r\n%b$5\r\n99999" % HERE],
    "cluster": [
        *(b"$-1", b"+OK", b":5", b"*1\r\n$-1", b"*1\r\n*2\r\n:0\r\n:16383"),
        b"*1\r\n*3\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n%b:1" % HERE,
        *(RANGE + node for node in (b"*2\r\n:7\r\n:1", b"*2\r\n$1\r\n\xff\r\n:1", b"*2\r\n%b:99999" % HERE)),
        RANGE + b"*2\r\n%b:0" % HERE,
    ],
}
"""Answers to the question for the primary."""


@pytest.mark.parametrize(("mode", "answer"), [(mode, answer) for mode in NONSENSE for answer in NONSENSE[mode]])
async def test_a_host_that_talks_nonsense_does_not_stand_in_the_way(
    own_redis: RedisServer, mode: Any, answer: bytes
) -> None:
    word, tells = (b"SENTINEL", names) if mode == "sentinel" else (b"CLUSTER", owns)
    async with stub((word, answer + b"\r\n")) as mad, stub((word, tells(own_redis.port))) as sane:
        for _ in range(3):  # they are asked in any order
            url = f"redis://127.0.0.1:{mad},127.0.0.1:{sane}"
            await (await Dialer(RedisSettings(url=url, mode=mode)).dial()).disconnect()
        with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{mad}"):
            await Dialer(RedisSettings(url=f"redis://127.0.0.1:{mad}", mode=mode)).dial()


@pytest.mark.parametrize("answer", [b"+OK\r\n+OK", b"-MOVED elsewhere", b"?"])
async def test_a_server_that_talks_nonsense_is_hung_up_on_at_once(answer: bytes) -> None:
    """Also when it says more than it was asked: whose answer the next one is, nobody knows."""
    async with stub((b"ODD", answer + b"\r\n")) as port, asyncio.timeout(PATIENCE):
        wire = Wire(Dialer(RedisSettings(url=f"redis://127.0.0.1:{port}")), 2 * PATIENCE)
        for _ in range(2):
            with contextlib.suppress(OutcomeUnknown):
                await wire.call("ODD")
        assert await wire.call("PING") == b"OK"
        await wire.close()


async def test_watchers_outlive_nonsense(caplog: pytest.LogCaptureFixture) -> None:
    answers = (b"SUBSCRIBE", b"-MOVED elsewhere\r\n"), (b"MGET", b"*1\r\n$-1\r\n"), (b"INFO", b"$0\r\n\r\n")
    async with (
        stub(*answers) as port,
        RedisStore(RedisSettings(url=f"redis://127.0.0.1:{port}")) as store,
        aclosing(store.watch("a")) as changes,
        asyncio.timeout(PATIENCE),
    ):
        assert await anext(changes) is None
        while not any("not heard of" in line for line in caplog.messages):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("role", [b":5", b"*0", b"$-1", b"$10\r\nrole:slave"])
async def test_a_primary_that_does_not_tell_its_role_is_none(role: bytes) -> None:
    async with stub((b"INFO", role + b"\r\n")) as odd, stub((b"SENTINEL", names(odd))) as sentinel:
        with pytest.raises(BackendUnavailable, match="is not the primary yet"):
            await Dialer(RedisSettings(url=f"redis://127.0.0.1:{sentinel}", mode="sentinel")).dial()


async def test_a_node_of_a_cluster_that_is_used_as_if_alone_and_has_not_our_keys_is_refused() -> None:
    async with stub((b"EVALSHA", b"-MOVED 2323 127.0.0.1:1\r\n")) as port:
        with pytest.raises(ConfigurationError, match="PAIGEANT_REDIS_MODE=cluster"):
            await RedisTransport(RedisSettings(url=f"redis://127.0.0.1:{port}")).connect()


async def test_a_wrong_password_is_told_in_a_cluster_too() -> None:
    async with stub((b"AUTH", b"-WRONGPASS invalid username-password pair\r\n")) as port:
        with pytest.raises(ConfigurationError, match="PAIGEANT_REDIS_PASSWORD"):
            await Dialer(RedisSettings(url=f"redis://u:pw@127.0.0.1:{port}", mode="cluster")).dial()


async def test_a_call_that_waits_for_a_silent_server_learns_that_it_was_closed(own_redis: RedisServer) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()
        left.set()

    transport = RedisTransport(RedisSettings(url=own_redis.url))
    await transport.connect()
    own_redis.kill()
    async with await asyncio.start_server(silent, own_redis.host, own_redis.port), asyncio.timeout(PATIENCE):
        calls = [asyncio.ensure_future(call) for call in (transport.queues("work"), transport.state_store().due(1.0))]
        await arrived.wait()
        await transport.disconnect()
        for call in calls:
            with pytest.raises(BackendClosed):
                await call
        await left.wait()
