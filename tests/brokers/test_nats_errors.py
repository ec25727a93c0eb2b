"""Every error of the client and of the server is one of ours."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
import uuid
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy

from paigeant.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    MessageTooLarge,
    OutcomeUnknown,
    PaigeantError,
)
from paigeant.model.message import Message, Publication
from paigeant_nats.errors import Refusal, cannot_connect, passes, translate
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer
from rig.certificates import Certificates

WHERE = "host:4222"
NOTHING_HAPPENED = {
    "MaxPayloadError": MessageTooLarge,
    "BadSubjectError": BackendError,
    "BadHeaderError": BackendError,
    "BadSubscriptionError": BackendError,
    "NotJSMessageError": BackendError,
    "NoRespondersError": BackendUnavailable,
    "NoStreamResponseError": BackendUnavailable,
    "ServiceUnavailableError": BackendUnavailable,
    "OutboundBufferLimitError": BackendUnavailable,
    "ConnectionReconnectingError": BackendUnavailable,
    "ConnectionClosedError": BackendUnavailable,
    "ConnectionDrainingError": BackendUnavailable,
}


def every_error() -> list[type[Exception]]:
    found = {
        cls
        for module in (nats.errors, nats.js.errors)
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__.startswith("nats")
    }
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


@pytest.mark.parametrize("kind", every_error(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_error_of_the_client_is_mapped(kind: type[Exception]) -> None:
    exc = kind.__new__(kind)
    Exception.__init__(exc, "told")
    reading, writing = (translate(exc, WHERE, write=write) for write in (False, True))
    wanted = NOTHING_HAPPENED.get(kind.__name__)
    assert type(writing) is (wanted or OutcomeUnknown)
    assert type(reading) is (wanted or BackendUnavailable)
    for error in (reading, writing):
        assert error.__cause__ is exc
        assert WHERE in str(error)


@pytest.mark.parametrize(
    "exc", [OSError("gone"), TimeoutError(), ConnectionResetError(), asyncio.IncompleteReadError(b"", 1)]
)
def test_errors_of_sockets_are_mapped(exc: Exception) -> None:
    assert type(translate(exc, WHERE, write=True)) is OutcomeUnknown
    assert type(translate(exc, WHERE, write=False)) is BackendUnavailable


def test_our_own_errors_pass() -> None:
    error = BackendUnavailable("as it is")
    assert translate(error, WHERE, write=True) is error


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        (10039, ConfigurationError, "nats-server -js"),
        (10047, BackendUnavailable, "free some storage"),
        (10023, BackendUnavailable, "limits"),
        (10005, BackendUnavailable, "server that is down"),
        (10054, MessageTooLarge, "max_msg_size"),
        (10058, ConfigurationError, "PAIGEANT_NAMESPACE"),
        (99999, BackendUnavailable, "told"),
    ],
)
def test_refusals_of_the_server_are_mapped(code: int, kind: type[PaigeantError], remedy: str) -> None:
    error = translate(Refusal({"err_code": code, "description": "told"}, "subject"), WHERE, write=True)
    assert type(error) is kind
    assert remedy in str(error)


@pytest.mark.parametrize(("code", "waits"), [(10005, True), (10008, True), (10023, False), (10047, False)])
def test_a_server_that_is_away_is_waited_for_and_one_that_is_full_is_not(code: int, waits: bool) -> None:
    assert passes(translate(Refusal({"err_code": code}, "subject"), WHERE, write=False)) is waits


@pytest.mark.parametrize("told", [{}, {"err_code": "x", "description": 7}, {"err_code": None}])
def test_a_refusal_may_hold_anything(told: dict[str, Any]) -> None:
    assert type(translate(Refusal(told, "subject"), WHERE, write=True)) is BackendUnavailable


@pytest.mark.parametrize(
    ("exc", "kind", "remedy"),
    [
        (nats.errors.AuthorizationError(), ConfigurationError, "PAIGEANT_NATS_USERNAME"),
        (nats.errors.Error("nats: 'Authorization Violation'"), ConfigurationError, "PAIGEANT_NATS_USERNAME"),
        (nats.errors.Error("nats: 'Authentication Timeout'"), BackendUnavailable, "authorization.timeout"),
        (ssl.SSLError("certificate verify failed"), ConfigurationError, "PAIGEANT_NATS_TLS"),
        (nats.errors.SecureConnWantedError(), ConfigurationError, "nats:// for one without"),
        (ModuleNotFoundError("No module named 'nkeys'"), ConfigurationError, "nats-py[nkeys]"),
        (FileNotFoundError("x.creds"), ConfigurationError, "_FILE"),
        (TimeoutError(), BackendUnavailable, "PAIGEANT_NATS_CONNECT_TIMEOUT"),
        (None, BackendUnavailable, "PAIGEANT_NATS_URL"),
        (ConnectionRefusedError("refused"), BackendUnavailable, "PAIGEANT_NATS_URL"),
    ],
)
def test_a_first_connection_tells_what_to_correct(
    exc: Exception | None, kind: type[PaigeantError], remedy: str
) -> None:
    error = cannot_connect(exc, WHERE)
    assert type(error) is kind
    assert WHERE in str(error)
    assert remedy in str(error)


def transport(url: str, **more: Any) -> NatsTransport:
    namespace = more.pop("namespace", f"e-{uuid.uuid4().hex[:12]}")
    return NatsTransport(NatsSettings(url=url, namespace=namespace, **more))


async def test_a_refused_connection_fails_at_once() -> None:
    async with asyncio.timeout(3):
        with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1.*PAIGEANT_NATS_URL"):
            await transport("nats://127.0.0.1:1").connect()


async def test_one_host_of_several_is_enough(nats_server: Any) -> None:
    async with transport(f"nats://127.0.0.1:1,127.0.0.1:{nats_server.port}") as connected:
        await connected.publish(Publication("work", Message("m", b"")))


async def test_a_wrong_password_says_so(tmp_path: Path) -> None:
    users = {"authorization": {"user": "bob", "password": "right"}}
    with NatsServer(tmp_path, config=users) as server:
        address = f"127.0.0.1:{server.port}"
        with pytest.raises(ConfigurationError, match="refused the login") as caught:
            await transport(f"nats://bob:wr0ng@{address}").connect()
        assert "wr0ng" not in str(caught.value)
        async with transport(f"nats://bob:right@{address}") as connected:
            assert connected.location == address


async def test_jetstream_switched_off_says_so(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path, config={"jetstream": None}) as server,
        pytest.raises(BackendUnavailable, match="nats-server -js"),
    ):
        await transport(server.url).connect()


async def test_missing_rights_are_told_at_once(tmp_path: Path) -> None:
    rights = {"publish": {"deny": ["paigeant.rights.q.>"]}}
    users = {"authorization": {"users": [{"user": "bob", "password": "b", "permissions": rights}]}}
    with NatsServer(tmp_path, config=users) as server:
        url = f"nats://bob:b@127.0.0.1:{server.port}"
        async with transport(url, namespace="rights") as connected, asyncio.timeout(3):
            with pytest.raises(ConfigurationError, match="permissions violation"):
                await connected.publish(Publication("work", Message("m", b"")))


async def test_tls_is_insisted_on(tmp_path: Path) -> None:
    plain = {"authorization": {"user": "bob", "password": "b"}}
    with NatsServer(tmp_path, config=plain) as server, pytest.raises(ConfigurationError, match="tls://"):
        await transport(f"tls://bob:b@127.0.0.1:{server.port}").connect()


async def test_tls_works_with_the_right_authority_only(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path / "tls")
    with NatsServer(tmp_path / "nats", tls=certificates) as server:
        with pytest.raises(ConfigurationError, match="PAIGEANT_NATS_TLS"):
            await transport(server.url).connect()
        async with transport(server.url, tls_ca=certificates.authority) as connected:
            await connected.publish(Publication("work", Message("m", b"")))


async def test_the_end_of_a_connection_with_tls_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """nats-py makes its streams so that asyncio warns."""
    certificates = Certificates.make(tmp_path / "tls")
    users = {"authorization": {"user": "bob", "password": "right"}}
    with NatsServer(tmp_path / "nats", tls=certificates, config=users) as server:
        for password in ("right", "wr0ng"):
            with contextlib.suppress(ConfigurationError):
                url = f"tls://bob:{password}@127.0.0.1:{server.port}"
                async with transport(url, tls_ca=certificates.authority):
                    pass
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_tls_first_with_a_server_that_speaks_first_is_named(tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path / "tls")
    with NatsServer(tmp_path / "nats", tls=certificates) as server:
        connecting = transport(server.url, tls_first=True, tls_ca=certificates.authority, connect_timeout=0.5).connect()
        with pytest.raises((BackendUnavailable, ConfigurationError), match="_FIRST"):  # as its words come early or late
            await connecting


async def test_a_server_that_waits_for_tls_is_named() -> None:
    """As one with ``handshake_first``: it says nothing in plain text."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(BackendUnavailable, match="PAIGEANT_NATS_TLS_FIRST"):
            await transport(f"tls://127.0.0.1:{port}", connect_timeout=0.5).connect()


async def test_another_server_behind_the_port_is_told(redis_server: Any) -> None:
    with pytest.raises(BackendUnavailable, match=r"perhaps another server.*PAIGEANT_NATS_URL"):
        await transport(f"nats://{redis_server.host}:{redis_server.port}", connect_timeout=0.5).connect()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(BackendUnavailable, match=r"does not greet as NATS does.*PAIGEANT_NATS_URL"):
            await transport(f"nats://127.0.0.1:{port}").connect()


async def test_storage_that_is_full_loses_nothing(tmp_path: Path) -> None:
    small = {"jetstream": {"max_file_store": 4 * 1024 * 1024}}
    with NatsServer(tmp_path, config=small) as server:
        async with transport(server.url) as connected:
            stored = 0
            with pytest.raises(BackendUnavailable, match="free some storage"):
                for stored in range(100):
                    await connected.publish(Publication("work", Message(f"m-{stored}", bytes(500_000))))
            assert (await connected.queues("work"))["work"].ready == stored


async def test_a_stream_of_another_kind_is_not_touched(nats_server: Any) -> None:
    client = Client()
    await client.connect(nats_server.url)
    await client.jetstream().add_stream(name="paigeant_odd_queues", subjects=["paigeant.odd.q.>", "paigeant.odd.s.>"])
    with pytest.raises(ConfigurationError, match=r"retention='limits'.*nats stream rm paigeant_odd_queues"):
        await transport(nats_server.url, namespace="odd").connect()
    await client.jetstream().delete_stream("paigeant_odd_queues")
    await client.close()


async def test_a_stream_that_drops_old_messages_is_refused(nats_server: Any) -> None:
    async with transport(nats_server.url, namespace="capped"):
        pass
    client = Client()
    await client.connect(nats_server.url)
    info = await client.jetstream().stream_info("paigeant_capped_queues")
    info.config.max_msgs = 10
    await client.jetstream().update_stream(info.config)
    with pytest.raises(ConfigurationError, match="nats stream edit paigeant_capped_queues --max-msgs=-1`"):
        await transport(nats_server.url, namespace="capped").connect()
    await client.jetstream().delete_stream("paigeant_capped_queues")
    await client.close()


async def test_replicas_that_differ_are_told(nats_server: Any) -> None:
    async with transport(nats_server.url, namespace="copies"):
        pass
    with pytest.raises(ConfigurationError, match="num_replicas=1, not 3") as caught:
        await transport(nats_server.url, namespace="copies", replicas=3).connect()
    command = "`nats stream edit paigeant_copies_queues --replicas=3`"
    assert str(caught.value).endswith(f"; {command}, or PAIGEANT_NATS_REPLICAS=1")
    async with transport(nats_server.url, namespace="copies") as connected:
        assert any(command in finding.remedy for finding in await connected.diagnose())


async def test_a_stream_without_a_subject_of_ours_is_told(nats_server: Any) -> None:
    client = Client()
    await client.connect(nats_server.url)
    await client.jetstream().add_stream(
        name="paigeant_half_queues", subjects=["paigeant.half.q.>"], retention=RetentionPolicy.WORK_QUEUE
    )
    with pytest.raises(
        ConfigurationError, match=r"edit paigeant_half_queues --subjects='paigeant\.half\.q\.>,.*s\.>'`"
    ):
        await transport(nats_server.url, namespace="half").connect()
    await client.jetstream().delete_stream("paigeant_half_queues")
    await client.close()
