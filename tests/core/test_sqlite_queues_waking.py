"""How the SQLite queues wake who waits in another instance or process: by a doorbell, else by looking."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import time
from pathlib import Path

import pytest

from paigeant.builtin.sqlite import doorbell, session
from paigeant.builtin.sqlite.transport import SqliteTransport

from .sqlite_kit import one, publication


async def test_wakes_another_instance_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polling is put out of reach, so only the doorbell can wake the consumer."""
    monkeypatch.setattr("paigeant.builtin.sqlite.consumer.POLL", 3600.0)
    async with (
        SqliteTransport(tmp_path / "q.db") as publisher,
        publisher.clone() as other,
        other.consume(["q"], lease=30) as consumer,
    ):
        for n in range(20):
            receiving = asyncio.create_task(one(consumer))
            await asyncio.sleep(0)
            await publisher.publish(publication(str(n)))
            async with asyncio.timeout(5):
                delivery = await receiving
            await delivery.settle()


async def test_without_a_doorbell_polling_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> Path:
        raise PermissionError(1, "no", str(path))

    async with SqliteTransport(tmp_path / "q.db") as publisher, publisher.clone() as other:
        pass
    monkeypatch.setattr(doorbell, "private_directory", refuse)
    with caplog.at_level(logging.WARNING, "paigeant.sqlite"):
        await publisher.connect()
        await other.connect()
    assert "no doorbell" in caplog.text
    async with other.consume(["q"], lease=30) as consumer:
        receiving = asyncio.create_task(one(consumer))
        await asyncio.sleep(0.05)
        await publisher.publish(publication())
        async with asyncio.timeout(session.POLL * 4):
            await receiving
    await publisher.disconnect()
    await other.disconnect()


async def test_a_long_path_gets_a_short_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", f"/tmp/pg{os.getpid()}")
    Path(f"/tmp/pg{os.getpid()}").mkdir(exist_ok=True)
    await test_wakes_another_instance_at_once(tmp_path / ("long" * 30), monkeypatch)
    home = Path(f"/tmp/pg{os.getpid()}/paigeant-{os.getuid()}")
    assert home.stat().st_mode & 0o777 == 0o700
    home.rmdir()  # nothing is left in it
    home.parent.rmdir()


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir(mode=0o755)
    assert doorbell.private_directory(tmp_path / "loose").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "loose")
    with pytest.raises(PermissionError):
        doorbell.private_directory(tmp_path / "link")
    if os.geteuid() == 0:
        os.chown(tmp_path / "loose", 12345, 12345)
        with pytest.raises(PermissionError):
            doorbell.private_directory(tmp_path / "loose")


RINGS = {
    "star": [b"*"],
    "binary": [b"\xff\x00"],
    "words": [b"kv 12 nonsense"],
    "minus": [b"-1"],
    "other script": ["١".encode()],
    "so many that some may be lost": [b"999999"] * 9,
    "empty, then junk": [b"", b"9" * 400, b"?"],
}


@pytest.mark.parametrize("rings", RINGS.values(), ids=RINGS.keys())
async def test_a_ring_that_says_nothing_certain_makes_everyone_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rings: list[bytes]
) -> None:
    monkeypatch.setattr("paigeant.builtin.sqlite.consumer.POLL", 3600.0)
    async with SqliteTransport(tmp_path / "q.db") as transport, transport.consume(["q"], lease=30) as consumer:
        await transport.publish(publication(delay=3600))
        receiving = asyncio.create_task(one(consumer))
        for _ in range(3):
            await transport.queues("q")  # by now the consumer has looked, and waits
        hand = sqlite3.connect(transport.path, isolation_level=None)
        hand.execute("UPDATE msg SET avail = 0")  # which rings no bell
        hand.close()
        (bell,) = doorbell.bell_directory(tmp_path / "q.db.d").glob("*.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as rope:
            for ring in rings:
                rope.sendto(ring, str(bell))
        async with asyncio.timeout(5):
            await receiving


async def test_the_socket_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        stale = doorbell.bell_directory(tmp_path / "q.db.d") / "0123456789abcdef.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(str(stale))
        await transport.publish(publication())
        assert not stale.exists()


async def test_idle_consumer_uses_little(tmp_path: Path) -> None:
    async with (
        SqliteTransport(tmp_path / "q.db") as transport,
        transport.consume(["a", "b", "c"], lease=30) as consumer,
    ):
        receiving = asyncio.create_task(one(consumer))
        await asyncio.sleep(0.2)
        start = time.process_time()
        await asyncio.sleep(2.0)
        used = time.process_time() - start
        receiving.cancel()
        await asyncio.wait([receiving])
        assert used < 0.01 * 2.0


async def test_of_consumers_that_claim_at_once_the_one_that_waits_longest_is_first(tmp_path: Path) -> None:
    """Who puts a message back, for another to take, would else be given it again and again."""
    takers = list[int]()
    async with (
        SqliteTransport(tmp_path / "q.db") as transport,
        transport.consume(["q"], lease=30) as first,
        transport.consume(["q"], lease=30) as second,
    ):
        await transport.publish(publication())
        for _ in range(6):
            receiving = [asyncio.create_task(consumer.receive(1)) for consumer in (first, second)]
            (taken,), (waiting,) = await asyncio.wait(receiving, return_when=asyncio.FIRST_COMPLETED)
            takers.append(receiving.index(taken))
            waiting.cancel()
            await asyncio.wait([waiting])
            (delivery,) = taken.result()
            await delivery.release()
    assert takers == [0, 1, 0, 1, 0, 1]
