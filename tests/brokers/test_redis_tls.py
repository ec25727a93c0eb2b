"""TLS: the server is verified, the client too if it is asked to, and a mismatch is told as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paigeant.errors import BackendUnavailable, ConfigurationError
from paigeant.model.message import Message, Publication
from paigeant_redis.settings import RedisSettings
from paigeant_redis.transport import RedisTransport
from rig.brokers import RedisServer
from rig.certificates import Certificates

pytestmark = pytest.mark.external_service  # the server of PyPI knows no TLS


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.make(tmp_path / "certificates")


@pytest.fixture
def server(tmp_path: Path, certificates: Certificates) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", config={"tls-auth-clients": "yes"}, tls=certificates) as running:
        yield running


async def test_both_sides_show_a_certificate(server: RedisServer, certificates: Certificates) -> None:
    settings = RedisSettings(
        url=server.url,
        tls_ca=certificates.authority,
        tls_cert=certificates.certificate,
        tls_key=certificates.key,
    )
    async with RedisTransport(settings) as transport:
        async with transport.consume(["work"], lease=30.0) as consumer:
            await transport.publish(Publication("work", Message("m-1", b"body")))
            await (await consumer.receive(1))[0].settle()
        await transport.state_store().put("a", b"one")


async def test_an_unknown_authority_is_named(server: RedisServer) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_REDIS_TLS_CA"):
        await RedisTransport(RedisSettings(url=server.url)).connect()


async def test_a_client_without_certificate_is_refused(server: RedisServer, certificates: Certificates) -> None:
    with pytest.raises((ConfigurationError, BackendUnavailable)):
        await RedisTransport(RedisSettings(url=server.url, tls_ca=certificates.authority)).connect()


async def test_plain_text_to_a_server_with_tls(server: RedisServer) -> None:
    url = server.url.replace("rediss", "redis")
    with pytest.raises((ConfigurationError, BackendUnavailable), match="rediss:// if it speaks TLS"):
        await RedisTransport(RedisSettings(url=url, connect_timeout=2.0)).connect()
