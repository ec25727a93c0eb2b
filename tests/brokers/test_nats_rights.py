"""Users who may not do all that a worker does: the doctor tells each right, and nothing fails in silence."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from paigeant.errors import ConfigurationError
from paigeant.model.finding import Finding, Severity
from paigeant.model.message import Message, Publication
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer

WORK = Publication("work", Message("m-1", b"body"))
CALLS = ("INFO", "DURABLE.CREATE", "DELETE", "MSG.NEXT")
QUEUES, STATE = "paigeant_few_queues", "paigeant_few_state"


def server(directory: Path, **rights: list[str]) -> NatsServer:
    """Where bob may not do what is named: subjects to ``publish`` to, or to ``subscribe`` to."""
    permissions = {kind: {"deny": subjects} for kind, subjects in rights.items()}
    bob = {"user": "bob", "password": "b", "permissions": permissions}
    return NatsServer(directory, config={"authorization": {"users": [bob]}})


def user(server: NatsServer) -> NatsTransport:
    return NatsTransport(NatsSettings(url=f"nats://bob:b@127.0.0.1:{server.port}", namespace="few", timeout=5.0))


def refused(found: list[Finding]) -> list[str]:
    return [one.message for one in found if one.severity is Severity.PROBLEM]


@pytest.mark.parametrize(
    ("denied", "told"),
    [
        ("paigeant.few.>", [f"publish to paigeant.few.{kind}.>" for kind in "qsed"]),
        ("$JS.ACK.>", [f"publish to $JS.ACK.{QUEUES}.>"]),
        ("$JS.API.CONSUMER.>", [f"publish to $JS.API.CONSUMER.{call}.{QUEUES}.>" for call in CALLS]),
        (f"$JS.API.DIRECT.GET.{STATE}.>", [f"publish to $JS.API.DIRECT.GET.{STATE}.>"]),
        (f"$JS.API.STREAM.MSG.DELETE.{STATE}", [f"publish to $JS.API.STREAM.MSG.DELETE.{STATE}"]),
    ],
)
async def test_the_doctor_tells_each_missing_right(tmp_path: Path, denied: str, told: list[str]) -> None:
    with server(tmp_path, publish=[denied]) as running:
        async with user(running) as transport:
            found = refused([*await transport.diagnose(), *await transport.state_store().diagnose()])
    assert {f"this user may not {right}" for right in told} == set(found)


async def test_the_doctor_tells_of_changes_that_cannot_be_heard(tmp_path: Path) -> None:
    with server(tmp_path, subscribe=["paigeant.few.w.>"]) as running:
        async with user(running) as transport:
            found = await transport.state_store().diagnose()
    assert refused(found) == ["this user may not subscribe to paigeant.few.w.>"]
    assert "docs/transports/nats.md" in next(one.remedy for one in found if one.severity is Severity.PROBLEM)


async def test_looking_at_the_rights_changes_nothing(tmp_path: Path) -> None:
    with server(tmp_path) as running:
        async with user(running) as transport:
            store = transport.state_store()
            await transport.publish(WORK)
            await store.put("a", b"one", due=1.0)
            before = await transport._session.api.call(f"STREAM.INFO.{QUEUES}"), await transport.queues()
            found = await store.diagnose()
            assert {one.subject for one in found if one.severity is Severity.OK} >= {"queue rights", "store rights"}
            after = await transport._session.api.call(f"STREAM.INFO.{QUEUES}"), await transport.queues()
            assert [before[0]["state"], before[1]] == [after[0]["state"], after[1]]
            assert [entry.key for entry in await store.scan("")] == await store.due(await store.now()) == ["a"]


async def test_a_message_that_may_not_be_given_back_leaves_no_error_behind(tmp_path: Path) -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    with server(tmp_path, publish=["$JS.ACK.>"]) as running:
        async with user(running) as transport:
            await transport.publish(WORK)
            async with transport.consume(["work"], lease=30) as consumer, asyncio.timeout(20):
                [delivery] = await consumer.receive(1)
                with pytest.raises(ConfigurationError, match=r"(?i)\$JS\.ACK.*On the server"):
                    await delivery.settle()
        gc.collect()
    assert lost == []
