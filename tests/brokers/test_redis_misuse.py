"""Wrong settings, a wrong server, keys of another program: each is told with what to do, and nothing waits for it."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import paigeant_redis
from paigeant import ActivitySpec, WorkflowDispatcher
from paigeant.errors import BackendCorrupt, BackendUnavailable, ConfigurationError
from paigeant.model.finding import Finding, Severity
from paigeant.plugins import CoreSettings, PluginRegistry
from paigeant_redis.dial import Dialer
from paigeant_redis.settings import RedisSettings
from paigeant_redis.transport import RedisTransport
from rig.brokers import RedisServer

from .redis_kit import PATIENCE, SentinelServer, one


def settings(url: str, **more: Any) -> RedisSettings:
    return RedisSettings(url=url, namespace="ns", connect_timeout=2.0, **more)


def bare(server: RedisServer) -> Redis:
    return Redis(host=server.host, port=server.port, protocol=2)


async def refusal(of: RedisSettings, kind: type[Exception] = ConfigurationError) -> str:
    with pytest.raises(kind) as refused:
        await RedisTransport(of).connect()
    return str(refused.value)


async def diagnosed(transport: RedisTransport, subject: str) -> list[Finding]:
    return [finding for finding in await transport.diagnose() if finding.subject == subject]


# --- TLS


@pytest.mark.parametrize("field", ["tls_ca", "tls_cert", "tls_key"])
async def test_a_file_that_cannot_be_read_is_named_at_once(field: str, tmp_path: Path) -> None:
    (there := tmp_path / "there.pem").touch()
    files: dict[str, Path] = {"tls_cert": there, field: tmp_path / "missing.pem"}
    text = await refusal(settings("rediss://127.0.0.1:1", **files))
    assert f"PAIGEANT_REDIS_{field.upper()} names the file" in text
    assert "cannot be read" in text


async def test_a_key_needs_its_certificate(tmp_path: Path) -> None:
    assert "PAIGEANT_REDIS_TLS_CERT" in await refusal(settings("rediss://127.0.0.1:1", tls_key=tmp_path / "key.pem"))


@pytest.mark.parametrize("url", ["redis://h", "unix:///run/redis.sock"])
@pytest.mark.parametrize("field", ["tls_ca", "tls_cert", "tls_key", "tls_check_hostname"])
def test_settings_of_tls_are_refused_where_nothing_is_encrypted(field: str, url: str) -> None:
    value = False if field == "tls_check_hostname" else Path("ca.pem")
    with pytest.raises(ConfigurationError, match=f"PAIGEANT_REDIS_{field.upper()} .*rediss://"):
        settings(url, **{field: value}).target()


@asynccontextmanager
async def hanging_up() -> AsyncIterator[int]:
    """The port of a server that ends each connection at its first bytes, as one with TLS does with plain text."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_mismatch_of_tls_is_guessed(redis_server: RedisServer) -> None:
    async with hanging_up() as port:
        assert "rediss:// if it speaks TLS" in await refusal(settings(f"redis://127.0.0.1:{port}"), BackendUnavailable)
    url = f"rediss://{redis_server.host}:{redis_server.port}"
    assert "redis:// if it does not speak TLS" in await refusal(settings(url), BackendUnavailable)


# --- the URL, and what answers there


async def test_a_database_that_is_not_there(redis_server: RedisServer) -> None:
    assert "PAIGEANT_REDIS_DB" in await refusal(settings(f"redis://{redis_server.host}:{redis_server.port}/99"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://u:p#secret@h", "'#' in it is not percent-encoded"),
        ("redis://u:p/secret@h", "/ is %2F"),
        ("redis://u:p@[secret", "a bracket in it does not enclose"),
        ("http://u:secret@h", "does not begin with redis://, rediss:// or unix://"),
    ],
)
def test_malformed_urls(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(url).target()
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("mode", ["standalone", "sentinel", "cluster"])
async def test_another_server_behind_the_port_is_told(nats_server: Any, mode: Any) -> None:
    url = f"redis://{nats_server.host}:{nats_server.port}"
    assert "does not speak as Redis does" in await refusal(settings(url, mode=mode), BackendUnavailable)


async def test_a_refused_login_tells_of_the_encoding(redis_server: RedisServer) -> None:
    url = f"redis://nobody:wrong@{redis_server.host}:{redis_server.port}"
    assert "percent-encoded" in await refusal(settings(url))


async def test_a_sentinel_is_no_server_and_a_server_no_sentinel(own_redis: RedisServer, tmp_path: Path) -> None:
    assert "PAIGEANT_REDIS_MODE" in await refusal(settings(own_redis.url, mode="sentinel"))
    with SentinelServer(tmp_path / "sentinel", config={"watch": own_redis.port}) as sentinel:
        for db in ("", "/1"):
            url = f"redis://{sentinel.host}:{sentinel.port}{db}"
            assert "PAIGEANT_REDIS_MODE=sentinel" in await refusal(settings(url))


async def test_a_sentinel_that_asks_for_a_password_of_its_own(own_redis: RedisServer, tmp_path: Path) -> None:
    with SentinelServer(tmp_path / "sentinel", config={"watch": own_redis.port}) as sentinel:
        async with bare(sentinel) as client:
            await client.execute_command("ACL", "SETUSER", "default", ">secret")
        url = f"redis://{sentinel.host}:{sentinel.port}"
        text = await refusal(settings(url, mode="sentinel"), BackendUnavailable)
        assert "PAIGEANT_REDIS_SENTINEL_USERNAME and _PASSWORD" in text
        connection = await Dialer(settings(url, mode="sentinel", sentinel_password="secret")).dial()
        await connection.disconnect()


async def test_what_several_sentinels_say_is_one_reason() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        urls = settings(f"redis://127.0.0.1:{port},localhost:{port}", mode="sentinel")
        with pytest.raises(BackendUnavailable) as refused:
            await Dialer(urls).dial()
    assert str(refused.value).count(str(port)) >= 2
    assert ";" not in str(refused.value)


def test_a_socket_is_a_transport() -> None:
    transport = PluginRegistry(CoreSettings(transport="unix:///run/redis.sock")).transport()
    assert isinstance(transport, RedisTransport)
    assert transport.location == "unix:///run/redis.sock?db=0"


# --- a server that is full


async def test_a_full_server_refuses_a_dispatch_at_once(own_redis: RedisServer) -> None:
    async with RedisTransport(settings(own_redis.url)) as transport, bare(own_redis) as client:
        await client.config_set("maxmemory", "1")
        async with asyncio.timeout(PATIENCE), WorkflowDispatcher(transport) as dispatcher:
            with pytest.raises(BackendUnavailable, match="maxmemory"):
                await dispatcher.dispatch_workflow([ActivitySpec("a")])
        (finding,) = await diagnosed(transport, "maxmemory")
        assert finding.severity is Severity.PROBLEM
        assert "CONFIG SET maxmemory" in finding.remedy


# --- keys of another program


async def test_a_queue_of_another_program_is_named(own_redis: RedisServer) -> None:
    async with RedisTransport(settings(own_redis.url)) as transport, bare(own_redis) as client:
        await client.set("{paigeant:ns}:q:two", "x")
        with pytest.raises(BackendCorrupt, match=r"\{paigeant:ns\}:q:two.*delete or rename"):
            async with transport.consume(["one", "two"], lease=30.0):
                pass
        async with transport.consume(["three"], lease=30.0) as consumer:
            await client.set("{paigeant:ns}:q:three", "x")
            with pytest.raises(BackendCorrupt, match=r"three.*paigeant doctor.*delete or rename"):
                await one(consumer)
        await client.rpush("{paigeant:ns}:due", "x")
        found = await diagnosed(transport, "key types")
        assert [finding.message.split(":", 2)[2].split(",")[0] for finding in found] == [
            "due is a list",
            "q:three is a string",
        ]
        assert all((finding.severity, "RENAME" in finding.remedy) == (Severity.PROBLEM, True) for finding in found)


async def test_a_foreign_entry_is_left_out_of_a_list(own_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with RedisTransport(settings(own_redis.url)) as transport, bare(own_redis) as client:
        store = transport.state_store()
        for key in "abcd":
            await store.put(key, b"ours", due=1.0)
        await client.set("{paigeant:ns}:e:a", "short")
        await client.delete("{paigeant:ns}:e:c")
        await client.rpush("{paigeant:ns}:e:c", "a list")
        with caplog.at_level(logging.WARNING):
            assert [entry.key for entry in await store.scan("", limit=2)] == ["b", "d"]
        assert [record.getMessage().count("left out") for record in caplog.records] == [1, 1]
        assert await store.due(2.0) == ["b", "d"]


# --- rights


async def test_rights_that_cannot_be_checked_are_told_how(own_redis: RedisServer) -> None:
    rights = ("on", ">pw", "~{paigeant:*", "&{paigeant:*", "+@all", "-@admin", "-@dangerous", "+info")
    async with bare(own_redis) as client:
        await client.execute_command("ACL", "SETUSER", "few", *rights)
    url = f"redis://few:pw@{own_redis.host}:{own_redis.port}"
    async with RedisTransport(settings(url)) as transport:
        (finding,) = await diagnosed(transport, "rights")
    assert (finding.severity, finding.remedy) == (Severity.NOTE, "ACL SETUSER <name> +acl|dryrun")
    assert ";" not in finding.message


def commands() -> set[str]:
    """What the scripts call, and what is sent beside them. Without ``TIME`` nobody connects."""
    scripts = (Path(paigeant_redis.__file__).parent / "lua").glob("*.lua")
    called = {name for script in scripts for name in re.findall(r"(?:call\(|bulk\(|= )'([A-Z]+)'", script.read_text())}
    assert {"XADD", "UNLINK", "PUBLISH", "ZSCORE"} < called
    return (called - {"TIME"}) | {"EVALSHA", "EVAL", "MGET", "BLPOP", "SUBSCRIBE", "UNSUBSCRIBE", "PING"}


async def test_each_right_that_is_missing_is_named(own_redis: RedisServer) -> None:
    rights = ("on", ">pw", "~{paigeant:*", "&{paigeant:*", "+@all")
    url = f"redis://few:pw@{own_redis.host}:{own_redis.port}"
    async with bare(own_redis) as client:
        await client.execute_command("ACL", "SETUSER", "few", *rights)
        async with RedisTransport(settings(url)) as transport:
            for name in sorted(commands()):
                await client.execute_command("ACL", "SETUSER", "few", f"-{name}")
                (finding,) = await diagnosed(transport, "rights")
                assert (finding.severity, finding.message) == (Severity.PROBLEM, f"user 'few' may not: {name}")
                await client.execute_command("ACL", "SETUSER", "few", f"+{name}")
            (finding,) = await diagnosed(transport, "rights")
            assert finding.severity is Severity.OK


async def test_a_user_without_dangerous_rights_follows_a_sentinel(own_redis: RedisServer, tmp_path: Path) -> None:
    rights = ("on", ">pw", "resetchannels", "~{paigeant:*", "&{paigeant:*", "+@all", "-@admin", "-@dangerous", "+info")
    async with bare(own_redis) as client:
        await client.execute_command("ACL", "SETUSER", "few", *rights)
    with SentinelServer(tmp_path / "sentinel", config={"watch": own_redis.port}) as sentinel:
        url = f"redis://few:pw@{sentinel.host}:{sentinel.port}"
        async with RedisTransport(settings(url, mode="sentinel")) as transport:
            assert await transport.queues() == {}
