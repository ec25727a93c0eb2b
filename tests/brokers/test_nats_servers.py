"""NATS servers, accounts, streams and consumers as others set them up: used as they are, or refused with a remedy."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client, ServerVersion
from nats.js.api import StreamConfig
from pydantic import SecretStr

from paigeant.errors import BackendError, BackendUnavailable, ConfigurationError, OutcomeUnknown
from paigeant.model.finding import Severity
from paigeant.model.message import Message, Publication
from paigeant_nats.api import Api
from paigeant_nats.errors import Refusal
from paigeant_nats.settings import NatsSettings
from paigeant_nats.store import NatsStore
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer

NANO = 1_000_000_000


def transport(url: str, **more: Any) -> NatsTransport:
    namespace = more.pop("namespace", f"v-{uuid.uuid4().hex[:12]}")
    return NatsTransport(NatsSettings(url=url, namespace=namespace, timeout=2, **more))


def work(number: int) -> Publication:
    return Publication("work", Message(f"m-{number}", b"body"))


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Client]:
    client = Client()
    await client.connect(url)
    try:
        yield client
    finally:
        await client.close()


async def test_a_server_that_limits_requests_is_asked_for_less(tmp_path: Path) -> None:
    with NatsServer(tmp_path, config={"jetstream": {"limits": {"max_request_batch": 7}}}) as server:
        async with transport(server.url) as connected, asyncio.timeout(20):
            async with connected.consume(["work"], lease=30) as consumer:
                await connected.publish(*(work(n) for n in range(100)))
                found = 0
                while found < 50:
                    for delivery in await consumer.receive(50):
                        await delivery.settle()
                        found += 1
            assert await connected.purge("work") == 100 - found


@pytest.mark.parametrize(
    ("limits", "remedy"),
    [({"max_ack_pending": 1000}, "PAIGEANT_NATS_MAX_ACK_PENDING"), ({"duplicate_window": "30s"}, "_DEDUP_WINDOW")],
)
async def test_a_limit_of_the_server_names_the_setting(tmp_path: Path, limits: dict[str, Any], remedy: str) -> None:
    with (
        NatsServer(tmp_path, config={"jetstream": {"limits": limits}}) as server,
        pytest.raises(ConfigurationError, match=remedy),
    ):
        async with transport(server.url) as connected, connected.consume(["work"], lease=30):
            pass


async def test_replicas_of_a_single_server_name_the_setting(nats_server: Any) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_NATS_REPLICAS"):
        await transport(nats_server.url, replicas=3).connect()


async def test_a_stream_that_takes_our_subjects_is_told(own_nats: NatsServer) -> None:
    async with bare(own_nats.url) as client:
        await client.jetstream().add_stream(StreamConfig(name="audit", subjects=["paigeant.>"]))
    with pytest.raises(ConfigurationError, match="let no other stream take"):
        await transport(own_nats.url).connect()


async def test_a_store_that_forgets_by_age_is_refused(nats_server: Any) -> None:
    async with transport(nats_server.url, namespace="aged") as connected:
        await connected.state_store().put("a", b"")
        async with bare(nats_server.url) as client:
            manager = client.jetstream()
            config = (await manager.stream_info("paigeant_aged_state")).config
            config.max_age = 3600
            await manager.update_stream(config)
    async with transport(nats_server.url, namespace="aged") as connected:
        with pytest.raises(ConfigurationError, match=r"max_age.*nats stream edit paigeant_aged_state --max-age=0s`"):
            await connected.state_store().get("a")


@pytest.mark.parametrize(
    "setting", [{"headers_only": True}, {"max_deliver": 3}, {"filter_subject": None}], ids=lambda s: next(iter(s))
)
async def test_a_consumer_that_loses_messages_is_refused(nats_server: Any, setting: dict[str, Any]) -> None:
    async with transport(nats_server.url) as connected, bare(nats_server.url) as client:
        stream, subject = f"paigeant_{connected.namespace}_queues", f"paigeant.{connected.namespace}.q.work.*"
        config = {"durable_name": "work", "filter_subject": subject, "ack_policy": "explicit", "ack_wait": 30 * NANO}
        config = {key: value for key, value in (config | setting).items() if value is not None}
        body = json.dumps({"stream_name": stream, "config": config}).encode()
        answer = await client.request(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.work", body)
        assert b'"error"' not in answer.data
        with pytest.raises(ConfigurationError, match=f"{next(iter(setting))}.*nats consumer rm {stream} work"):
            async with connected.consume(["work"], lease=30):
                pass


async def test_a_user_that_cannot_hear_answers_is_told(tmp_path: Path) -> None:
    rights = {"subscribe": {"deny": ["_INBOX.>"]}}
    users = {"authorization": {"users": [{"user": "bob", "password": "b", "permissions": rights}]}}
    with NatsServer(tmp_path, config=users) as server:
        with pytest.raises(ConfigurationError, match=r"(?i)permissions violation for subscription"):
            await transport(f"nats://bob:b@127.0.0.1:{server.port}").connect()
        async with transport(f"nats://bob:b@127.0.0.1:{server.port}", inbox_prefix="answers.bob") as connected:
            await connected.publish(work(1))


async def test_the_rights_named_in_the_documentation_are_enough(tmp_path: Path) -> None:
    api = ["INFO"]
    for stream in ("paigeant_few_queues", "paigeant_few_state"):
        api += [f"STREAM.{call}.{stream}" for call in ("INFO", "CREATE", "UPDATE", "PURGE", "MSG.GET", "MSG.DELETE")]
        api += [f"DIRECT.GET.{stream}", f"DIRECT.GET.{stream}.>", f"CONSUMER.LIST.{stream}"]
        api += [f"CONSUMER.{call}.{stream}.>" for call in ("INFO", "DURABLE.CREATE", "DELETE", "MSG.NEXT")]
    rights = {
        "publish": ["paigeant.few.>", "$JS.ACK.paigeant_few_queues.>", *(f"$JS.API.{call}" for call in api)],
        "subscribe": ["_INBOX.>", "paigeant.few.w.>"],
    }
    users = {"authorization": {"users": [{"user": "bob", "password": "b", "permissions": rights}]}}
    with NatsServer(tmp_path, config=users) as server:
        async with (
            transport(f"nats://bob:b@127.0.0.1:{server.port}", namespace="few") as connected,
            connected.consume(["work"], lease=30) as consumer,
            connected.consume(["reply"], lease=30, expires=5),
            asyncio.timeout(20),
        ):
            await connected.publish(work(1), work(2))
            [delivery, *_] = await consumer.receive(1)
            assert await connected.renew([delivery.lease_token]) == set()
            await delivery.settle(Publication("next", delivery.message, delay=0.1))
            assert await connected.peek("next") is not None
            assert set(await connected.queues()) == {"work", "reply", "next"}
            assert await connected.purge("next") + await connected.purge("work") >= 1
            store = connected.state_store()
            changes = store.watch("a")
            assert await anext(changes) is None
            await store.put("a", b"", due=1.0)
            assert await anext(changes) is not None
            await changes.aclose()
            assert [entry.key for entry in await store.scan("")] == await store.due(await store.now()) == ["a"]
            await store.delete("a")
            assert all("could not be read" not in finding.message for finding in await connected.diagnose())


@pytest.mark.parametrize(
    ("authorization", "right", "wrong"),
    [
        ({"token": "s3cret"}, {"token": SecretStr("s3cret")}, {"token": SecretStr("wr0ng")}),
        (
            {"user": "bob", "password": "s3cret"},
            {"username": "bob", "password": SecretStr("s3cret")},
            {"username": "bob", "password": SecretStr("wr0ng")},
        ),
        ({"users": [{"user": "bob", "password": ""}]}, {"username": "bob"}, {"username": "eve"}),
    ],
    ids=["token", "password", "user alone"],
)
async def test_logins(
    tmp_path: Path, authorization: dict[str, Any], right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    with NatsServer(tmp_path, config={"authorization": authorization}) as server:
        async with transport(server.url, **right) as connected:
            await connected.publish(work(1))
        for settings in (wrong, {}):
            with pytest.raises(ConfigurationError, match="refused the login") as caught:
                await transport(server.url, **settings).connect()
            assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no credentials\n", b"-----BEGIN NATS USER JWT-----\nx\n"])
async def test_a_creds_file_that_is_none_is_told_at_once(own_nats: NatsServer, tmp_path: Path, content: Any) -> None:
    """nats-py reads on for ever where it does not find what it looks for."""
    creds = tmp_path / "user.creds"
    if content is not None:
        creds.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"PAIGEANT_NATS_CREDS_FILE.*user\.creds"):
        await transport(own_nats.url, creds_file=creds).connect()


async def test_a_password_without_a_user_is_told(nats_server: Any) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_NATS_USERNAME"):
        await transport(nats_server.url, password=SecretStr("s3cret")).connect()


async def test_an_account_without_jetstream_says_so(tmp_path: Path) -> None:
    accounts = {"OFF": {"users": [{"user": "bob", "password": "b"}]}}
    with (
        NatsServer(tmp_path, config={"accounts": accounts}) as server,
        pytest.raises((ConfigurationError, BackendUnavailable), match=r"JetStream.*not enabled"),
    ):
        await transport(f"nats://bob:b@127.0.0.1:{server.port}").connect()


async def test_an_account_that_is_full_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    limits = {"max_file": 2 * 1024 * 1024}
    accounts = {"A": {"jetstream": limits, "users": [{"user": "bob", "password": "b"}]}}
    with NatsServer(tmp_path, config={"accounts": accounts}) as server:
        async with transport(f"nats://bob:b@127.0.0.1:{server.port}") as connected:
            store, stored = connected.state_store(), 0
            await store.put("a", b"one")
            with pytest.raises(BackendError, match="free some storage"):
                for stored in range(100):
                    await connected.publish(Publication("work", Message(f"m-{stored}", bytes(300_000))))
            with pytest.raises(BackendError, match="free some storage"):
                for number in range(100):
                    await store.put(f"b/{number}", bytes(100_000))
            assert await connected.purge("work") == stored
            await connected.publish(work(1))
            await store.put("a", b"two")


async def test_a_stream_that_is_slow_to_be_made_is_asked_for_again(
    nats_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cluster that elects its leader for longer than an answer may take."""
    call, slow = Api.call, ["_queues", "_state"]

    async def unanswered(self: Any, subject: str, *args: Any, **options: Any) -> Any:
        answer = await call(self, subject, *args, **options)
        for name in [name for name in slow if subject.startswith("STREAM.CREATE") and subject.endswith(name)]:
            slow.remove(name)
            raise OutcomeUnknown("no answer")
        return answer

    monkeypatch.setattr(Api, "call", unanswered)
    async with transport(nats_server.url) as connected:
        await connected.publish(work(1))
        await connected.state_store().put("a", b"")  # type: ignore[union-attr]
    assert "_queues" not in slow


async def change_of_a_stream(url: str, monkeypatch: pytest.MonkeyPatch, *refusals: int) -> None:
    """Ask for it, while the server refuses it with these codes, one after another."""
    call, left = Api.call, list(refusals)

    async def refusing(self: Any, subject: str, *args: Any, **options: Any) -> Any:
        if subject.startswith("STREAM.UPDATE") and left:
            raise Refusal({"err_code": left.pop(0), "description": "told"}, subject)
        return await call(self, subject, *args, **options)

    namespace = f"v-{uuid.uuid4().hex[:12]}"
    async with transport(url, namespace=namespace):
        pass
    monkeypatch.setattr(Api, "call", refusing)
    async with transport(url, namespace=namespace, dedup_window=30) as connected:
        assert connected.capabilities.dedup_window == 30
    assert not left


async def test_a_change_of_a_stream_that_must_wait_is_asked_for_again(
    nats_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10008: the cluster has no leader; 10009: it is another server now."""
    await change_of_a_stream(nats_server.url, monkeypatch, 10008, 10009)


@pytest.mark.parametrize("code", [10052, 10069])
async def test_a_change_of_a_stream_that_is_refused_is_named(
    nats_server: Any, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with pytest.raises(ConfigurationError, match=r"lacks .*duplicate_window.*told.*PAIGEANT_NAMESPACE"):
        await change_of_a_stream(nats_server.url, monkeypatch, code)


@pytest.mark.parametrize("most", [1000, 10_000, 16 * 1024 + 1])
async def test_a_server_that_leaves_no_room_for_a_message_is_refused(tmp_path: Path, most: int) -> None:
    with NatsServer(tmp_path, config={"max_payload": most}) as server:
        for made in (transport(server.url), NatsStore(NatsSettings(url=server.url, namespace="v"))):
            with pytest.raises(ConfigurationError, match=f"max_payload of {most} bytes.*; raise max_payload"):
                await made.connect()


async def test_storage_whose_limit_is_not_told_is_not_called_well(nats_server: Any) -> None:
    async with transport(nats_server.url) as connected:
        [found] = [finding for finding in await connected.diagnose() if finding.subject == "storage"]
    assert (found.severity, "max_file_store" in found.remedy) == (Severity.NOTE, True)


async def test_an_old_server_is_told_by_its_version(own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "connected_server_version", ServerVersion("2.1.0"))
    with pytest.raises(ConfigurationError, match=r"has version 2\.1\.0; use 2\.9"):
        await transport(own_nats.url).connect()


@pytest.mark.parametrize(
    ("jetstream", "remedy"),
    [
        (False, "start the server with JetStream"),
        ({"max_file_store": 0, "max_memory_store": 1000}, "free some storage"),
    ],
    ids=["off", "no room"],
)
async def test_what_no_waiting_mends_is_told_before_any_time_limit(tmp_path: Path, jetstream: Any, remedy: str) -> None:
    namespace = f"v-{uuid.uuid4().hex[:12]}"
    with NatsServer(tmp_path, config={"jetstream": jetstream}) as server:
        async with asyncio.timeout(60):
            with pytest.raises(BackendUnavailable, match=remedy):
                await NatsTransport(NatsSettings(url=server.url, namespace=namespace, timeout=300)).connect()
