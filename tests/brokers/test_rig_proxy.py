"""The network that can fail."""

from __future__ import annotations

import socket
import time

import pytest

from rig.brokers import RedisServer
from rig.proxy import Proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), 5)


def ask(connection: socket.socket, command: bytes = b"PING") -> bytes:
    connection.sendall(command + b"\r\n")
    return connection.recv(1000)


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_bytes_pass(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy, connect(proxy) as client:
        assert ask(client) == b"+PONG\r\n"
        assert proxy.connections == 1


def test_a_cut_network_holds_bytes_back_until_healed(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy, connect(proxy) as client:
        assert ask(client) == b"+PONG\r\n"
        proxy.cut()
        with connect(proxy) as newcomer:  # accepted, as by a firewall that drops what follows
            for connection in (client, newcomer):
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    ask(connection)
            proxy.heal()
            for connection in (client, newcomer):
                connection.settimeout(5)
                assert connection.recv(100) == b"+PONG\r\n"


def test_a_refusing_network_closes_and_heals(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy:
        with connect(proxy) as client:
            assert ask(client) == b"+PONG\r\n"
            proxy.refuse()
            assert closed(client)
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
        proxy.heal()
        with connect(proxy) as client:
            assert ask(client) == b"+PONG\r\n"


def test_a_dropped_connection_may_come_back_at_once(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy, connect(proxy) as client:
        assert ask(client) == b"+PONG\r\n"
        proxy.drop()
        assert closed(client)
        with connect(proxy) as again:
            assert ask(again) == b"+PONG\r\n"


def test_a_slow_network(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port, delay=0.1) as proxy, connect(proxy) as client:
        since = time.monotonic()
        assert ask(client) == b"+PONG\r\n"
        assert time.monotonic() - since >= 0.2  # there and back


def test_the_end_of_the_server_is_passed_on(own_redis: RedisServer) -> None:
    with Proxy(own_redis.host, own_redis.port) as proxy, connect(proxy) as client:
        assert ask(client) == b"+PONG\r\n"
        own_redis.kill()
        assert closed(client)
        with connect(proxy) as late:
            assert closed(late)
