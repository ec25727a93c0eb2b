"""The rig itself: servers that die as told, keep their data, and are never left behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.brokers import NatsServer, RabbitServer, RedisServer, Server
from rig.proxy import Proxy

KINDS = [
    pytest.param(RedisServer, id="redis"),
    pytest.param(NatsServer, id="nats"),
    pytest.param(RabbitServer, id="rabbitmq", marks=pytest.mark.external_service),
]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with request.param(tmp_path / "server") as started:
        yield started


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(connection: socket.socket, command: bytes) -> bytes:
    connection.sendall(command + b"\r\n")
    return connection.recv(1000)


def test_a_killed_server_comes_back_where_it_was(server: Server) -> None:
    port = server.port
    server.kill()
    assert not reachable(port) and not server.running
    server.start()
    assert server.port == port and reachable(port)


def test_data_survive_a_kill_and_no_wipe(own_redis: RedisServer) -> None:
    with socket.create_connection((own_redis.host, own_redis.port)) as client:
        assert ask(client, b"SET key value") == b"+OK\r\n"
    own_redis.kill()
    own_redis.start()
    with socket.create_connection((own_redis.host, own_redis.port)) as client:
        assert ask(client, b"GET key") == b"$5\r\nvalue\r\n"
    own_redis.stop()
    own_redis.wipe()
    own_redis.start()
    with socket.create_connection((own_redis.host, own_redis.port)) as client:
        assert ask(client, b"GET key") == b"$-1\r\n"


def test_a_cut_network_holds_bytes_back(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy, socket.create_connection((proxy.host, proxy.port)) as client:
        assert ask(client, b"PING") == b"+PONG\r\n"
        proxy.cut()
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(client, b"PING")
        client.settimeout(5)
        proxy.heal()
        assert client.recv(100) == b"+PONG\r\n"


def test_a_refusing_network_closes_and_heals(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy:
        with socket.create_connection((proxy.host, proxy.port)) as client:
            assert ask(client, b"PING") == b"+PONG\r\n"
            proxy.refuse()
            with pytest.raises(ConnectionResetError):
                if not client.recv(100):
                    raise ConnectionResetError
            assert not reachable(proxy.port)
        proxy.heal()
        with socket.create_connection((proxy.host, proxy.port)) as client:
            assert ask(client, b"PING") == b"+PONG\r\n"
