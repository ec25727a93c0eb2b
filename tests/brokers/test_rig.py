"""The rig itself: servers that die as told, keep their data, and are never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from rig import packages, server, versions
from rig.brokers import BrokerError, NatsServer, RabbitServer, RedisServer, RunningServer, Server
from rig.certificates import Certificates
from rig.packages import Unavailable, cached
from rig.ports import free_port

Kind: TypeAlias = Callable[..., Server]

external = pytest.mark.external_service
KINDS = [
    pytest.param(RedisServer, id="redis"),
    pytest.param(NatsServer, id="nats"),
    pytest.param(RabbitServer, id="rabbitmq", marks=external),
]
TLS_KINDS = [
    pytest.param(RedisServer, id="redis", marks=external),
    pytest.param(NatsServer, id="nats"),
    pytest.param(RabbitServer, id="rabbitmq", marks=external),
]
RELEASES = [
    pytest.param(kind, name, id=name, marks=() if name in versions.BROUGHT else external)
    for kind, table in ((RedisServer, versions.REDIS), (NatsServer, versions.NATS), (RabbitServer, versions.RABBIT))
    for name in table
]
RIG = str(Path(server.__file__).parents[1])
CHILD = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from rig import brokers
started = getattr(brokers, sys.argv[2])(pathlib.Path(sys.argv[3]))
started.start()
print(started.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=KINDS)
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with request.param(tmp_path / "server") as running:
        yield running


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def soon(true: Callable[[], bool]) -> bool:
    """Whether it becomes true."""
    deadline = time.monotonic() + 20
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def ask(asked: Server, command: bytes) -> bytes:
    with socket.create_connection((asked.host, asked.port), 5) as connection:
        connection.sendall(command + b"\r\n")
        return connection.recv(1000)


def test_a_killed_server_comes_back_where_it_was(started: Server) -> None:
    port = started.port
    started.kill()
    assert not reachable(port) and not started.running
    started.start()
    assert started.port == port and reachable(port)


def test_a_paused_server_is_silent_and_can_be_stopped(started: Server) -> None:
    started.pause()
    with pytest.raises(TimeoutError), started._connect(0.3) as connection:
        connection.sendall(b"PING\r\n")
        while connection.recv(1000):
            pass
    started.resume()
    assert started._answers()
    started.pause()
    started.stop()
    assert not reachable(started.port)


def test_data_survive_a_kill_but_no_wipe(own_redis: RedisServer) -> None:
    assert ask(own_redis, b"SET key value") == b"+OK\r\n"
    own_redis.kill()
    own_redis.start()
    assert ask(own_redis, b"GET key") == b"$5\r\nvalue\r\n"
    with pytest.raises(BrokerError, match="still runs"):
        own_redis.wipe()
    own_redis.stop()
    own_redis.wipe()
    own_redis.start()
    assert ask(own_redis, b"GET key") == b"$-1\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_no_server_outlives_a_killed_test_run(kind: type[Server], tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, RIG, kind.__name__, str(tmp_path / "server")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert reachable(port)
        assert processes(tmp_path / "server")
        child.kill()
    assert soon(lambda: not reachable(port))
    assert soon(lambda: not processes(tmp_path / "server"))


def processes(directory: Path) -> list[Path]:
    """Those that run in a directory, or below it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(directory):
                found.append(entry)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_taken_meanwhile_is_given_up(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:  # accepts, and never says a word
        taken = other.getsockname()[1]
        offers = iter([taken])
        monkeypatch.setattr(server, "free_port", lambda: next(offers, None) or free_port())
        with kind(tmp_path / "server") as running:
            assert running.port != taken and running._answers()


def test_ports_are_offered_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    with socket.socket(type=socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", ports[0]))


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"redis ended instead of answering on port \d+[\s\S]*no-such-directive"):
        RedisServer(tmp_path / "server", config={"no-such-directive": "1"}).start()


@pytest.mark.parametrize("kind", TLS_KINDS)
def test_tls(kind: Kind, tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path / "certificates")
    with kind(tmp_path / "server", tls=certificates) as running:
        assert running._answers()
        assert str(certificates.authority) in running.environment.values()


@pytest.mark.parametrize(("kind", "release"), RELEASES)
def test_releases(kind: Kind, release: str, tmp_path: Path) -> None:
    with kind(tmp_path / "server", installation=versions.ALL[release]()) as running:
        assert running._answers()


@external
def test_rabbitmq_is_controlled(own_rabbit: RabbitServer) -> None:
    assert own_rabbit.control("eval", "rabbit_misc:version().").strip() == '"3.10.8"'
    with pytest.raises(BrokerError, match="no-such-command"):
        own_rabbit.control("no-such-command")


def test_what_cannot_be_had_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable) as missing:
        versions.RABBIT["rabbitmq-3.10"]()
    for part in ("apt-get is not installed", str(tmp_path / "cache"), "RIG_RABBITMQ_URL=amqp://"):
        assert part in str(missing.value)


def test_the_cache_is_filled_once_and_completely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIG_CACHE", str(tmp_path))
    calls = []

    def broken(root: Path) -> None:
        (root / "half").touch()
        raise OSError("the network is gone")

    def whole(root: Path) -> None:
        calls.append(list(root.iterdir()))

    with pytest.raises(OSError, match="gone"):
        cached("thing", broken)
    assert cached("thing", whole) == cached("thing", whole) == packages.cache() / "thing"
    assert calls == [[]]  # nothing of the half was left


def test_the_cache_does_not_depend_on_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIG_CACHE", "here")
    with pytest.raises(Unavailable, match="RIG_CACHE=here must be an absolute path"):
        packages.cache()


def test_addresses_of_running_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIG_REDIS_URL", raising=False)
    assert RunningServer.named("redis") is None
    monkeypatch.setenv("RIG_REDIS_URL", "redis://broker.test:6380/2")
    named = RunningServer.named("redis")
    assert named is not None and (named.host, named.port) == ("broker.test", 6380)
    assert named.environment == {"PAIGEANT_TRANSPORT": "redis", "PAIGEANT_REDIS_URL": "redis://broker.test:6380/2"}


def test_an_interrupt_of_the_terminal_reaches_no_server(own_redis: RedisServer) -> None:
    assert os.getpgid(own_redis.pid) == own_redis.pid != os.getpgid(0)
    os.killpg(own_redis.pid, signal.SIGTERM)
    assert soon(lambda: not reachable(own_redis.port))
