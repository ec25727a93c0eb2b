"""SQLite under real processes and real signals: nothing acknowledged is lost, nothing settled comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.model.message import Message, Publication

CHILD = str(Path(__file__).with_name("sqlite_child.py"))
ROUNDS = 40 if os.environ.get("PROOF") else 5


@contextlib.asynccontextmanager
async def child(role: str, path: Path, argument: str = "") -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, CHILD, role, str(path), argument, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        assert process.stdin is not None
        process.stdin.close()  # ends a forked copy, which keeps our pipes open
        await process.communicate()


async def line(process: Process) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().split()


def rows(path: Path, sql: str) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def messages(path: Path, queue: str) -> Counter[str]:
    sql = "SELECT mid FROM content JOIN msg USING (id) JOIN queue ON queue.id = msg.queue WHERE queue.name = '%s'"
    return Counter(mid for (mid,) in rows(path, sql % queue))


def check_consistent(path: Path) -> None:
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT count(*) FROM msg") == rows(path, "SELECT count(*) FROM content")
    waiting, forwarded = messages(path, "in"), messages(path, "out")
    assert set(waiting.values()) | set(forwarded.values()) <= {1}, "a message is there twice"
    assert not set(waiting) & set(forwarded), "a message was forwarded and is still there"
    done = {key.removeprefix("done/") for (key,) in rows(path, "SELECT key FROM kv")}
    assert done == set(forwarded), "settlement was torn apart"


async def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    published: set[str] = set()
    settled: set[str] = set()
    for turn in range(ROUNDS):
        async with child("churn", path, f"t{turn}") as process:
            assert await line(process) == ["ready"]
            await asyncio.sleep(random.uniform(0.0, 0.4))
            process.send_signal(signal.SIGKILL)
            output, _ = await process.communicate()
        for fact in output.decode().splitlines():
            what, name = fact.split()
            (published if what == "published" else settled).add(name)
        check_consistent(path)
        waiting, forwarded = set(messages(path, "in")), set(messages(path, "out"))
        assert published <= waiting | forwarded, "an acknowledged publish is lost"
        assert settled <= forwarded, "an acknowledged settlement is lost"
    assert published and settled


async def test_two_killed_at_once_do_not_disturb_a_third(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    async with (
        child("churn", path, "a") as first,
        child("churn", path, "b") as second,
        child("churn", path, "c") as third,
    ):
        for process in (first, second, third):
            assert await line(process) == ["ready"]
        await asyncio.sleep(0.4)
        first.kill()
        second.kill()
        facts = []
        for process in (first, second):
            output, _ = await process.communicate()
            facts += [fact.split() for fact in output.decode().splitlines()]
        more = 0
        while more < 50:  # the third goes on
            facts.append(await line(third))
            more += facts[-1][0] == "settled"
        third.kill()
        output, _ = await third.communicate()
        facts += [fact.split() for fact in output.decode().splitlines()]
    check_consistent(path)
    published = {name for what, name in facts if what == "published"}
    settled = {name for what, name in facts if what == "settled"}
    assert published <= set(messages(path, "in")) | set(messages(path, "out"))
    assert settled <= set(messages(path, "out"))


@pytest.mark.parametrize("argument", ["", "fork"])
async def test_a_killed_consumer_is_replaced_within_two_seconds(tmp_path: Path, argument: str) -> None:
    """Its lease would last a minute. A forked copy that lives on must not keep it alive."""
    path = tmp_path / "q.db"
    async with SqliteTransport(path) as transport:
        await transport.publish(*(Publication("in", Message(str(n), b"x")) for n in range(5)))
        async with child("hold", path, argument) as process, transport.consume(["in"], lease=60) as consumer:
            assert await line(process) == ["held", "5"]
            receiving = asyncio.create_task(consumer.receive(10))
            await asyncio.sleep(1.5)  # a patrol sees it alive
            assert not receiving.done()
            process.send_signal(signal.SIGKILL)
            start, stalled = time.monotonic(), 0.0
            async with asyncio.timeout(60):
                while not receiving.done():
                    looked = time.monotonic()
                    await asyncio.wait([receiving], timeout=0.05)
                    stalled += max(0.0, time.monotonic() - looked - 0.1)  # the whole machine stood still, and so did we
            deliveries = receiving.result()
            assert time.monotonic() - start - stalled < 2.0
            assert [d.deliveries for d in deliveries] == [2] * len(deliveries)
            rest = await consumer.receive(10) if len(deliveries) < 5 else []
            assert {d.message.id for d in [*deliveries, *rest]} == set("01234")
            async with asyncio.timeout(5):  # its file goes last
                while len(list((tmp_path / "q.db.d").glob("*.lock"))) != 1:
                    await asyncio.sleep(0.01)


async def test_a_consumer_stopped_past_its_lease_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    async with SqliteTransport(path) as transport:
        await transport.publish(Publication("in", Message("m", b"x")))
        async with child("freeze", path, "1.0") as process:
            assert await line(process) == ["held", "m"]
            process.send_signal(signal.SIGSTOP)
            async with transport.consume(["in"], lease=1.0) as consumer:
                async with asyncio.timeout(10):
                    (delivery,) = await consumer.receive(1)
                assert delivery.deliveries == 2
                process.send_signal(signal.SIGCONT)
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                lost = await line(process)
                assert len(lost) == 2 and lost[0] == "lost"
                assert [await line(process), await line(process)] == [["refused"], ["refused"]]
                assert await transport.state_store().get("done/m") is None
                await transport.renew([delivery.lease_token])
                await delivery.settle(Publication("out", Message("mine", b"")))
        assert messages(path, "out") == {"mine": 1}
        assert messages(path, "in") == {}


@pytest.mark.parametrize("processes", [2, 4])
async def test_competing_processes_settle_each_message_once(tmp_path: Path, processes: int) -> None:
    path = tmp_path / "q.db"
    count = 300 * processes
    async with SqliteTransport(path) as transport, contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(child("drain", path, "2.0")) for _ in range(processes)]
        for worker in workers:
            assert await line(worker) == ["ready"]
        for start in range(0, count, 50):
            await transport.publish(*(Publication("in", Message(str(n), b"x" * 500)) for n in range(start, start + 50)))
        outputs = [(await worker.communicate())[0].decode().splitlines() for worker in workers]
        assert [output[-1] for output in outputs] == ["end"] * processes
        settled = Counter(fact for output in outputs for fact in output if fact.startswith("settled"))
        assert len(settled) == count and set(settled.values()) == {1}
    check_consistent(path)
    assert sum(messages(path, "out").values()) == count


async def test_another_process_is_woken_not_polled(tmp_path: Path) -> None:
    """Polling takes a quarter of a second on average; the doorbell a few milliseconds, most of them an fsync."""
    path = tmp_path / "q.db"
    async with SqliteTransport(path) as transport, child("echo", path) as process:
        assert await line(process) == ["ready"]
        took = []
        for n in range(40):
            await asyncio.sleep(0.005)
            start = time.monotonic()
            await transport.publish(Publication("in", Message(str(n), b"x")))
            assert await line(process) == ["received", str(n)]
            took.append(time.monotonic() - start)
        took.sort()  # on a busy machine most wait for the processor, not for the bell
        assert took[len(took) // 10] < 0.010, took
        assert took[len(took) // 2] < 0.100, took
