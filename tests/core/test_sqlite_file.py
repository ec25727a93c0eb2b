"""The file itself: what may be opened, and what every failure of it becomes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paigeant.builtin.sqlite import schema, writer
from paigeant.builtin.sqlite.store import SqliteStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import (
    BackendClosed,
    BackendCorrupt,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
)
from paigeant.model.message import Message, Publication


def publication(text: str = "m", size: int = 1) -> Publication:
    return Publication("q", Message(text, b"x" * size))


async def test_directory_and_file_are_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "q.db"
    async with SqliteTransport(path) as transport:
        await transport.publish(publication())
        async with transport.consume(["q"], lease=30):
            made = [path.parent, path, *path.parent.iterdir(), *(path.parent / "q.db.d").iterdir()]
            assert {p.name for p in made} >= {"data", "q.db", "q.db-wal", "q.db-shm", "q.db.d"}
            for entry in made:
                assert stat.S_IMODE(entry.lstat().st_mode) & 0o077 == 0 or stat.S_ISSOCK(entry.lstat().st_mode), entry
    assert list((path.parent / "q.db.d").iterdir()) == []
    assert transport.data_directory == path.parent
    assert transport.location == str(path)


async def test_what_is_acknowledged_is_on_disk_after_each_mode(tmp_path: Path) -> None:
    for mode in ("FULL", "NORMAL"):
        path = tmp_path / f"{mode}.db"
        async with SqliteTransport(path, synchronous=mode) as transport:
            await transport.publish(publication())
            copy = sqlite3.connect(path)
            assert copy.execute("SELECT count(*) FROM content").fetchone() == (1,)
            assert copy.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            copy.close()


async def test_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE bookmarks(url TEXT)")
    theirs.commit()
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(BackendCorrupt, match=r"another program.*PAIGEANT_SQLITE_PATH"):
        await SqliteTransport(path).connect()
    assert path.read_bytes() == before
    assert not path.with_name("theirs.db-wal").exists()


async def test_other_application_id_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    theirs = sqlite3.connect(path)
    theirs.execute("PRAGMA application_id=1196444487")
    theirs.close()
    with pytest.raises(BackendCorrupt, match="application id 0x47504b47"):
        await SqliteTransport(path).connect()


async def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    async with SqliteTransport(path):
        pass
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    newer.close()
    with pytest.raises(
        BackendCorrupt, match=rf"format {schema.VERSION + 1}, and this release reads format {schema.VERSION}"
    ):
        await SqliteTransport(path).connect()


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look at" * 50, b"SQLite format 3\0" + b"\xff" * 9000]
)
async def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.db"
    path.write_bytes(content)
    with pytest.raises(BackendCorrupt, match=r"q\.db"):
        await SqliteTransport(path).connect()
    assert path.read_bytes() == content


async def test_damaged_pages_are_reported_as_such(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    async with SqliteTransport(path) as transport:
        for n in range(20):
            await transport.publish(publication(str(n), 5000))
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(BackendCorrupt):
        async with SqliteTransport(path) as transport:
            await transport.publish(publication("more"))
            await transport.peek("q")


@pytest.mark.parametrize("name", ["", "directory", "file/below"])
async def test_paths_that_cannot_be_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="PAIGEANT_SQLITE_PATH"):
        await SqliteTransport(tmp_path / name).connect()


async def test_memory_is_only_the_name_of_a_file(tmp_path: Path) -> None:
    async with SqliteTransport(":memory:") as transport:
        assert transport.path == tmp_path / ":memory:"
        assert transport.path.is_file()


async def test_a_symbolic_link_leads_to_the_same_doorbell(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    assert SqliteTransport(tmp_path / "link.db").path == tmp_path / "real.db"


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
async def test_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    async with SqliteTransport(path):
        pass
    path.chmod(0o400)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        await SqliteTransport(path).connect()


@contextlib.contextmanager
def mounted(point: Path, *options: str) -> Iterator[None]:
    point.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(point)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


async def test_read_only_file_system(tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    with mounted(point, "size=8m"):
        async with SqliteTransport(point / "q.db") as transport:
            await transport.publish(publication())
            subprocess.run(["mount", "-o", "remount,ro", str(point)], check=False)
        subprocess.run(["mount", "-o", "remount,ro", str(point)], check=True)
        with pytest.raises(ConfigurationError, match="Read-only file system"):
            await SqliteTransport(point / "q.db").connect()


async def test_a_full_disk_loses_nothing_and_heals(tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    with mounted(point, "size=1m"):
        async with SqliteTransport(point / "q.db") as transport:
            kept = []
            with pytest.raises((BackendUnavailable, OutcomeUnknown), match=r"disk is full|half-way"):
                for n in range(1000):
                    await transport.publish(publication(f"m{n}", 4000))
                    kept.append(f"m{n}")
            assert kept
            assert [message.id for message in await transport.peek("q", 1000)] == kept
            subprocess.run(["mount", "-o", "remount,size=16m", str(point)], check=True)
            await transport.publish(publication("healed"))
            assert [message.id for message in await transport.peek("q", 1000)] == [*kept, "healed"]


async def test_a_disk_that_is_full_before_it_is_opened(tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    with mounted(point, "size=1m"):
        async with SqliteTransport(point / "q.db"):
            pass
        with contextlib.suppress(OSError), (point / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        with pytest.raises(BackendUnavailable, match="disk is full"):
            await SqliteTransport(point / "q.db").connect()


async def test_a_full_database_loses_nothing_and_heals(tmp_path: Path) -> None:
    """The same without a mount: SQLite's own limit of pages."""
    async with SqliteTransport(tmp_path / "q.db") as transport:
        connection = transport._database.session()._writer._connection  # type: ignore[union-attr]
        connection.execute("PRAGMA max_page_count=40")
        kept = []
        with pytest.raises(BackendUnavailable, match="disk is full"):
            for n in range(200):
                await transport.publish(publication(f"m{n}", 4000))
                kept.append(f"m{n}")
        assert [message.id for message in await transport.peek("q", 1000)] == kept
        connection.execute("PRAGMA max_page_count=100000")
        await transport.publish(publication("healed"))
        assert (await transport.queues("q"))["q"].ready == len(kept) + 1


async def test_locked_by_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.2)
    async with SqliteTransport(tmp_path / "q.db") as transport:
        other = sqlite3.connect(transport.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailable, match="locked by another process"):
            await transport.publish(publication())
        assert await transport.peek("q") == []  # readers do not wait for writers
        other.execute("ROLLBACK")
        other.close()
        await transport.publish(publication())
        assert len(await transport.peek("q")) == 1


async def test_waits_for_a_short_lock_without_blocking_the_loop(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        other = sqlite3.connect(transport.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        publishing = asyncio.create_task(transport.publish(publication()))
        turns = 0
        while turns < 50:  # the loop turns while the writer waits
            await asyncio.sleep(0.001)
            turns += 1
        assert not publishing.done()
        other.execute("COMMIT")
        other.close()
        await publishing


async def test_deleted_file_is_noticed(tmp_path: Path) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        await transport.publish(publication())
        transport.path.unlink()
        with pytest.raises(BackendCorrupt, match="deleted or replaced"):
            await transport.publish(publication())
        transport.path.write_bytes(b"")
        with pytest.raises(BackendCorrupt, match="deleted or replaced"):
            await transport.publish(publication())


@pytest.mark.parametrize(
    ("code", "expected"),
    [(sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown), (sqlite3.SQLITE_FULL, BackendUnavailable)],
    ids=["fsync", "full"],
)
async def test_a_commit_that_fails_says_whether_it_may_have_happened(
    tmp_path: Path, code: int, expected: type[BackendError]
) -> None:
    class Failing(sqlite3.Connection):
        broken = False

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if self.broken and sql == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = code
                raise error
            return super().execute(sql, *values)

    async with SqliteTransport(tmp_path / "q.db") as transport:
        side = transport._database.session()._writer
        assert side is not None
        side._connection.close()
        side._connection = Failing(tmp_path / "q.db", isolation_level=None, check_same_thread=False)
        side._connection.broken = True
        with pytest.raises(expected) as caught:
            await transport.publish(publication("failed"))
        assert type(caught.value) is expected
        side._connection.broken = False
        await transport.publish(publication("healed"))
        assert [message.id for message in await transport.peek("q")] == ["healed"]


async def test_many_may_create_the_file_at_once(tmp_path: Path) -> None:
    for turn in range(10):
        transports = [SqliteTransport(tmp_path / f"{turn}.db") for _ in range(6)]
        await asyncio.gather(*(transport.connect() for transport in transports))
        await asyncio.gather(*(transport.publish(publication()) for transport in transports))
        assert (await transports[0].queues())["q"].ready == 6
        await asyncio.gather(*(transport.disconnect() for transport in transports))


def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    transport = SqliteTransport(tmp_path / "q.db")

    async def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await transport.publish(publication())
        with pytest.raises(ConfigurationError, match="another event loop"):
            await transport.connect()
        async with transport.clone() as clone:
            await clone.publish(publication())

    with asyncio.Runner() as first:
        first.run(transport.connect())
        asyncio.run(elsewhere())
        assert len(first.run(transport.peek("q"))) == 1
        first.run(transport.disconnect())


async def test_a_forked_child_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        with pytest.raises(ConfigurationError, match=r"fork.*clone"):
            await transport.publish(publication())
        monkeypatch.undo()


async def test_the_store_of_a_transport_follows_it(tmp_path: Path) -> None:
    transport = SqliteTransport(tmp_path / "q.db")
    store = transport.state_store()
    with pytest.raises(BackendClosed):
        await store.get("a")
    async with transport:
        async with store:
            await store.put("a", b"1")
        assert (await store.get("a")) is not None
    with pytest.raises(BackendClosed):
        await store.get("a")
    async with SqliteStore(tmp_path / "q.db") as alone:
        entry = await alone.get("a")
        assert entry is not None and entry.value == b"1"


@pytest.mark.parametrize("huge", [2**70, 10**400], ids=["over-int64", "over-float"])
async def test_values_that_sqlite_refuses_fail_alone(tmp_path: Path, huge: int) -> None:
    """An integer too large is caught by no check of ours, and must not fail the neighbours of its batch."""
    async with SqliteTransport(tmp_path / "q.db") as transport:
        store = transport.state_store()
        results = await asyncio.gather(
            store.put("good", b"1"),
            store.put("bad", b"2", due=huge),
            transport.publish(publication("also-good")),
            return_exceptions=True,
        )
        assert isinstance(results[1], BackendError)
        assert isinstance(results[0], int)
        assert results[2] is None
        assert await store.get("bad") is None
        assert [m.id for m in await transport.peek("q")] == ["also-good"]


@pytest.mark.parametrize("text", ["", "lone \ud800 surrogate"])
async def test_text_that_cannot_be_stored_is_refused_before(tmp_path: Path, text: str) -> None:
    async with SqliteTransport(tmp_path / "q.db") as transport:
        bad = Publication("q", Message(text + "\udfff", b""))
        with pytest.raises(ConfigurationError, match="UTF-8"):
            await transport.publish(bad)
        with pytest.raises(ConfigurationError, match="bytes"):
            await transport.publish(Publication("q", Message("m", "text")))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="not a number"):
            await transport.publish(Publication("q", Message("m", b""), delay=float("nan")))
        assert await transport.peek("q") == []
