"""A broker that is killed, restarted, frozen, cut off or full; and a loop that is busy."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from brokers.rabbit import LEASE, PATIENCE, is_empty, one, patiently, publication, received, settings, until
from paigeant.errors import BackendUnavailable, ConfigurationError, LeaseLost, MessageTooLarge, OutcomeUnknown
from paigeant.model.finding import Severity
from paigeant.model.message import Message, Publication
from paigeant_rabbitmq.inspection import purge
from paigeant_rabbitmq.link import Link
from paigeant_rabbitmq.pulse import PULSE
from paigeant_rabbitmq.settings import Place
from paigeant_rabbitmq.transport import RabbitMQTransport
from rig import versions
from rig.certificates import Certificates
from rig.proxy import Proxy
from rig.rabbit import RabbitServer

YOUNG = 2.0
"""Seconds: RabbitMQ 3.10 does not find the leader of a quorum queue again if it is killed right after making it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """Of this module: killed, but always there again at the end of a test."""
    with RabbitServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(autouse=True)
def running(server: RabbitServer) -> None:
    """Whatever the test before left."""
    server.start()


@pytest.fixture
def proxy(server: RabbitServer) -> Iterator[Proxy]:
    with Proxy(server.host, server.port) as proxy:
        yield proxy


def through(proxy: Proxy) -> str:
    return f"amqp://guest:guest@127.0.0.1:{proxy.port}/"


@pytest.mark.parametrize("how", ["kill", "restart"])
async def test_a_broker_that_comes_back_has_lost_nothing(server: RabbitServer, how: str) -> None:
    names = {f"{how}-{number}" for number in range(60)}
    async with RabbitMQTransport(settings(server.url, timeout=3)) as transport:
        await transport.publish(publication("never", "next"))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            await asyncio.sleep(YOUNG)
            publishing = asyncio.gather(
                *(patiently(lambda n=name: transport.publish(publication(n))) for name in names)
            )
            held = await received(consumer, 10)
            await asyncio.to_thread(server.kill if how == "kill" else server.stop)
            with pytest.raises(LeaseLost):
                while True:
                    with suppress(OutcomeUnknown):  # it was on its way when the connection ended
                        await held[0].settle(publication("never", "next"))
            await asyncio.to_thread(server.start)
            await publishing
            seen: set[str] = set()
            while seen != names:
                for delivery in await received(consumer, 10):
                    try:
                        await patiently(lambda d=delivery: d.settle(publication(d.message.id, "next")))
                    except LeaseLost:
                        continue
                    seen.add(delivery.message.id)
        while not await is_empty(transport):  # copies: what a publish that failed had stored
            async with transport.consume(["work"], lease=LEASE) as consumer:
                for delivery in await received(consumer, 100):
                    assert delivery.message.id in seen
                    await delivery.settle()
        stored = {message.id for message in await transport.peek("next", 1000)}
        assert stored - {"never"} == names


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
async def test_a_lost_connection_is_logged_without_tracebacks_of_the_library(
    server: RabbitServer, proxy: Proxy, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    def told() -> list[logging.LogRecord]:
        return [one for one in caplog.records if "reader exited" in one.getMessage() and one.levelno == logging.WARNING]

    with caplog.at_level(level, "aiormq.connection"):
        async with RabbitMQTransport(settings(through(proxy))):
            proxy.refuse()
            await until(lambda: asyncio.sleep(0, bool(told())))
            proxy.heal()
    assert [record.exc_info is not None for record in told()] == [level == logging.DEBUG] * len(told())
    assert level == logging.DEBUG or "onnection" in told()[0].getMessage().partition(": ")[2]


async def test_an_idle_consumer_outlives_a_restart(server: RabbitServer) -> None:
    before = set(asyncio.all_tasks())
    chosen = settings(server.url, timeout=3)
    async with RabbitMQTransport(chosen) as transport, transport.consume(["work"], lease=LEASE) as consumer:
        waiting = asyncio.create_task(one(consumer))
        await asyncio.to_thread(server.restart)
        await patiently(lambda: transport.publish(publication("1")))
        delivery = await waiting
        await delivery.settle()
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left, left
    assert not PULSE.watched


async def test_a_frozen_broker_is_told_promptly_and_the_message_comes_once_per_publish(server: RabbitServer) -> None:
    async with RabbitMQTransport(settings(server.url, timeout=1)) as transport:
        await transport.publish(publication("before"))
        server.pause()
        try:
            start = time.monotonic()
            with pytest.raises(OutcomeUnknown, match="PAIGEANT_RABBITMQ_TIMEOUT"):
                await transport.publish(publication("frozen"))
            assert time.monotonic() - start < 5
        finally:
            server.resume()
        await patiently(lambda: transport.publish(publication("after")))
        found = [message.id for message in await transport.peek("work")]
        assert set(found) == {"before", "frozen", "after"}
        assert len(found) == 3


async def test_a_purge_without_an_answer_may_have_been_done(server: RabbitServer) -> None:
    chosen = settings(server.url)
    async with Link(Place.of(chosen), chosen, "asking").another() as line:
        server.pause()
        try:
            with pytest.raises(OutcomeUnknown, match=r"purging.*PAIGEANT_RABBITMQ_TIMEOUT"):
                await purge(line, "work", 0.5)
        finally:
            server.resume()


async def test_a_network_that_swallows_everything(server: RabbitServer, proxy: Proxy) -> None:
    """No reset, no bytes: heartbeats tell. The broker gives the delivery to another meanwhile."""
    chosen = settings(through(proxy), heartbeat=1, timeout=1)
    direct = chosen.model_copy(update={"url": server.url})
    async with RabbitMQTransport(chosen) as transport, RabbitMQTransport(direct) as other:
        await transport.publish(publication("1"), publication("first", "next"))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            held = await one(consumer)
            proxy.cut()
            with pytest.raises(OutcomeUnknown):
                await transport.publish(publication("2", "next"))
            async with other.consume(["work"], lease=LEASE) as rescuer:
                again = await one(rescuer)
                assert (again.message.id, again.deliveries) == ("1", 2)
                await again.settle()
            async with asyncio.timeout(PATIENCE):
                while not await transport.renew([held.lease_token]):
                    await asyncio.sleep(0.1)
            proxy.heal()
            with pytest.raises(LeaseLost):
                await held.settle()
            waiting = asyncio.create_task(one(consumer))
            await patiently(lambda: transport.publish(publication("3")))
            assert (await waiting).message.id == "3"


async def test_an_unreachable_broker_is_told_within_the_timeout(server: RabbitServer, proxy: Proxy) -> None:
    async with RabbitMQTransport(settings(through(proxy), timeout=0.5)) as transport:
        await transport.publish(publication("1"))
        proxy.refuse()

        async def refused() -> bool:
            try:
                await transport.publish(publication("2"))
            except OutcomeUnknown:
                return False
            except BackendUnavailable as exc:
                return f"127.0.0.1:{proxy.port}" in str(exc)
            return False

        await until(refused)
        proxy.heal()
        await patiently(lambda: transport.publish(publication("3")))


async def test_several_hosts(server: RabbitServer, proxy: Proxy) -> None:
    proxy.refuse()
    hosts = f"127.0.0.1:{proxy.port},127.0.0.1:{server.port}"
    for _ in range(4):
        async with RabbitMQTransport(settings(f"amqp://guest:guest@{hosts}/")) as transport:
            await transport.publish(publication("1"))


async def test_a_memory_alarm_holds_publishing_and_nothing_else(server: RabbitServer) -> None:
    async with RabbitMQTransport(settings(server.url, timeout=1)) as transport:
        await transport.publish(*(publication(str(number)) for number in range(3)))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            held = await received(consumer, 3)
            await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "0.00001")
            try:
                with pytest.raises(OutcomeUnknown, match="low on memory; free memory"):  # was on its way
                    await transport.publish(publication("late", "next"))
                for queue in ("next", "not made yet"):
                    with pytest.raises(BackendUnavailable, match="memory"):
                        await transport.publish(publication("not sent", queue))
                found = {finding.subject: finding for finding in await transport.diagnose()}
                assert found["alarms"].severity is Severity.PROBLEM
                await held[0].settle()
                with pytest.raises(BackendUnavailable):
                    await held[1].settle(publication("successor", "next"))
                assert await is_empty(transport, "work")
            finally:
                await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "0.4")
            await patiently(lambda: held[1].settle(publication("successor", "next")))
            await held[2].settle()
        ids = [message.id for message in await transport.peek("next")]
        assert ids == ["late", "successor"]


async def test_a_message_over_the_brokers_limit_fails_alone(server: RabbitServer) -> None:
    limit = 200_000
    small, large = (Message(str(size), bytes(size)) for size in (limit, limit + 1))
    await asyncio.to_thread(server.control, "eval", f"application:set_env(rabbit, max_message_size, {limit}).")
    try:
        async with RabbitMQTransport(settings(server.url)) as transport:
            await transport.publish(publication("0"))
            *before, alone, together, after = await asyncio.gather(
                *(transport.publish(Publication("work", small)) for _ in range(20)),
                transport.publish(Publication("work", large)),
                transport.publish(Publication("work", large), Publication("work", small)),
                transport.publish(Publication("work", small)),
                return_exceptions=True,
            )
            assert {type(other) for other in before} <= {OutcomeUnknown, type(None)}
            assert [type(alone), type(together), type(after)] == [MessageTooLarge, MessageTooLarge, OutcomeUnknown]
            await transport.publish(Publication("work", small))
    finally:
        await asyncio.to_thread(server.control, "eval", "application:set_env(rabbit, max_message_size, 134217728).")


async def test_the_doctor_tells_of_an_alarm_without_waiting_for_an_answer(server: RabbitServer) -> None:
    await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "0.00001")
    try:
        async with RabbitMQTransport(settings(server.url, timeout=PATIENCE)) as transport:
            async with asyncio.timeout(PATIENCE / 2):
                found = {finding.subject: finding for finding in await transport.diagnose()}
    finally:
        await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "0.4")
    assert found["alarms"].severity is Severity.PROBLEM
    assert "memory" in found["alarms"].message
    assert found["right: read"].severity is Severity.OK


async def test_a_busy_loop_keeps_its_deliveries(server: RabbitServer) -> None:
    chosen = settings(server.url, heartbeat=1)
    async with RabbitMQTransport(chosen) as transport:
        await transport.publish(publication("1"))
        async with transport.consume(["work"], lease=LEASE) as consumer:
            held = await one(consumer)
            time.sleep(8)  # what an activity that blocks does; the broker waits for about 2 heartbeats
            await asyncio.sleep(0.5)  # not to synchronise: what the loop has missed comes in now
            assert await transport.renew([held.lease_token]) == set()
            await held.settle(publication("2", "next"))
        assert await is_empty(transport)
        assert [message.id for message in await transport.peek("next")] == ["2"]


async def test_the_pulse_ends_with_the_last_connection(server: RabbitServer) -> None:
    async with RabbitMQTransport(settings(server.url)):
        assert PULSE.watched
    assert not PULSE.watched
    await until(lambda: asyncio.sleep(0, "paigeant-rabbitmq-pulse" not in {t.name for t in threading.enumerate()}))


async def test_rights_are_told_and_what_exists_can_be_used_without_them(server: RabbitServer) -> None:
    chosen = settings(server.url)
    async with RabbitMQTransport(chosen) as admin:
        await admin.publish(publication("1"), publication("0", "other", delay=0.1))
    await asyncio.to_thread(server.control, "add_user", "poor", "hush")
    await asyncio.to_thread(server.control, "set_permissions", "poor", "^$", ".*", ".*")
    poor = chosen.model_copy(update={"url": f"amqp://poor:hush@{server.host}:{server.port}/"})
    async with RabbitMQTransport(poor) as transport:
        async with transport.consume(["work"], lease=LEASE) as consumer:
            await (await one(consumer)).settle(publication("2", delay=0.1))
            assert (await one(consumer)).message.id == "2"
        for missing in (publication("1", "missing"), publication("1", delay=1.0)):
            with pytest.raises(ConfigurationError, match="set_permissions") as caught:
                await transport.publish(missing)
            assert "hush" not in str(caught.value)
        found = {finding.subject: finding for finding in await transport.diagnose()}
        assert found["right: configure"].severity is Severity.PROBLEM
        assert found["right: write"].severity is Severity.OK


@pytest.mark.parametrize(
    ("path", "said"),
    [("guest:wrong@{}/", "PAIGEANT_RABBITMQ_PASSWORD"), ("guest:guest@{}/none", "PAIGEANT_RABBITMQ_VHOST")],
)
async def test_a_refused_login_says_what_to_correct(server: RabbitServer, path: str, said: str) -> None:
    url = f"amqp://{path.format(f'{server.host}:{server.port}')}"
    with pytest.raises(ConfigurationError, match=said) as caught:
        await RabbitMQTransport(settings(url)).connect()
    assert "wrong@" not in str(caught.value)


async def test_a_step_longer_than_the_brokers_timeout(tmp_path: Path) -> None:
    """RabbitMQ before 3.12 knows one timeout for all queues: the delivery is lost, and comes back."""
    old = versions.RABBIT["rabbitmq-3.10"]()
    with RabbitServer(tmp_path, config={"consumer_timeout": "1000"}, installation=old) as server:
        server.control("eval", "application:set_env(rabbit, channel_tick_interval, 200).")
        async with RabbitMQTransport(settings(server.url)) as transport:
            await transport.publish(publication("1"))
            async with transport.consume(["work"], lease=LEASE) as consumer:
                held = await one(consumer)
                again = await one(consumer)
                assert again.message.id == "1"
                with pytest.raises(LeaseLost):
                    await held.settle(publication("2", "next"))
                await again.settle(publication("2", "next"))
            assert await is_empty(transport)


@pytest.mark.external_service
async def test_a_queue_has_a_consumer_timeout_of_its_own(tmp_path: Path) -> None:
    """Since RabbitMQ 3.12."""
    new = versions.RABBIT["rabbitmq-4.0"]()
    with RabbitServer(tmp_path, config={"consumer_timeout": "500"}, installation=new) as server:
        server.control("eval", "application:set_env(rabbit, channel_tick_interval, 100).")
        async with RabbitMQTransport(settings(server.url)) as transport:
            await transport.publish(publication("1"))
            async with transport.consume(["work"], lease=LEASE) as consumer:
                held = await one(consumer)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(2.0):
                        await consumer.receive(1)
                await held.settle()
            assert await is_empty(transport)


async def test_tls(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path / "certificates")
    with RabbitServer(tmp_path / "rabbitmq", tls=certificates) as server:
        url = f"amqps://guest:guest@localhost:{server.port}/"
        async with RabbitMQTransport(settings(url, tls_ca=certificates.authority)) as transport:
            await transport.publish(publication("1"))
            async with transport.consume(["work"], lease=LEASE) as consumer:
                await (await one(consumer)).settle(publication("2", "next"))
            found = {finding.subject: finding for finding in await transport.diagnose()}
            assert found["heartbeat"].severity is Severity.NOTE
            assert "certificate" not in found
            assert not PULSE.watched  # the state of TLS belongs to the loop
        with pytest.raises(ConfigurationError, match="PAIGEANT_RABBITMQ_TLS_CA"):
            await RabbitMQTransport(settings(url)).connect()
        async with RabbitMQTransport(settings(url, tls_verify=False)) as transport:
            found = {finding.subject: finding for finding in await transport.diagnose()}
            assert found["certificate"].severity is Severity.WARNING
        with pytest.raises(BackendUnavailable, match=rf":{server.port} .*does the server speak TLS\? Then amqps://"):
            await RabbitMQTransport(settings(url.replace("amqps", "amqp"), connect_timeout=2)).connect()


async def test_tls_where_there_is_none(server: RabbitServer) -> None:
    with pytest.raises(ConfigurationError, match=r"no TLS there.*amqp://"):
        await RabbitMQTransport(settings(server.url.replace("amqp:", "amqps:"))).connect()
