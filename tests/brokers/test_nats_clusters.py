"""NATS servers that agree on everything first: what is new is not known everywhere at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from paigeant import ActivitySpec, Worker, WorkflowClient, WorkflowDispatcher, activity
from paigeant.errors import BackendError, BackendUnavailable
from paigeant.model.message import Message, Publication
from paigeant_nats import api as api_module
from paigeant_nats.api import Api
from paigeant_nats.link import Link
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer, RunningServer, Server
from rig.clusters import NatsCluster
from rig.ports import HOST, free_port
from rig.proxy import Proxy

STARTS = 10
"""Of a new namespace: of these, most failed when nothing was asked twice."""
PROCESSES = 4


@activity
async def fine() -> int:
    return 1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """Three nodes."""
    with NatsCluster(tmp_path_factory.mktemp("nats-cluster")) as cluster:
        yield cluster


@pytest.mark.xdist_group("nats-cluster")
@pytest.mark.parametrize("stored", [False, True], ids=["none", "own"])
async def test_many_may_start_in_a_namespace_that_is_new(
    cluster: NatsCluster, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not stored:
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    for _ in range(STARTS):
        namespace = f"new-{uuid.uuid4().hex[:12]}"
        settings = NatsSettings(url=cluster.url.replace(",nats://", ","), namespace=namespace, replicas=3)
        workers = [Worker(NatsTransport(settings), [fine]) for _ in range(PROCESSES)]
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run())
            assert await run_one(settings) == "completed"
            for worker in workers:
                worker.stop()


async def run_one(settings: NatsSettings) -> str:
    async with NatsTransport(settings) as transport, WorkflowDispatcher(transport) as dispatcher:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("fine")])
        async with WorkflowClient(transport) as client:
            return (await client.outcome(workflow, timeout=60)).status


async def test_nodes_that_came_after_us_are_found_when_ours_is_gone(tmp_path: Path) -> None:
    """Also by an address that is no version 4."""
    nodes = NatsCluster(tmp_path, 2)
    ours, late = nodes.nodes
    late.config["client_advertise"] = f"[::ffff:{late.host}]:{late.port}"
    with nodes:
        await asyncio.to_thread(late.stop)
        link = Link(NatsSettings(url=ours.url))
        async with asyncio.timeout(60):
            await link.open()
            while link.client.discovered_servers:  # it has not noticed yet that the other one is gone
                await link.close()
                await link.open()
            await asyncio.to_thread(late.start)
            while not link.client.discovered_servers:
                await asyncio.sleep(0.01)
            lost = asyncio.Event()
            link.on_down.append(lost.set)
            await asyncio.to_thread(ours.kill)
            await lost.wait()
            while not link.is_up:
                await asyncio.sleep(0.01)
            await link.close()


async def test_servers_further_away_know_that_a_consumer_left_before_it_is_gone(tmp_path: Path) -> None:
    """Those of a cluster, or beyond a leaf: what our server tells them takes its time, here a tenth of a second."""
    port, domain = free_port(), "far"
    listening = {"leafnodes": {"host": HOST, "port": port}, "jetstream": {"domain": domain}}
    with NatsServer(tmp_path / "far", config=listening) as far, Proxy(HOST, port, delay=0.1) as proxy:
        remote = {"remotes": [{"url": f"nats://{proxy.host}:{proxy.port}"}]}
        with NatsServer(tmp_path / "near", config={"leafnodes": remote, "jetstream": None}) as near:
            leaving = NatsTransport(
                NatsSettings(url=near.url, namespace=f"r-{uuid.uuid4().hex[:12]}", domain=domain, timeout=10.0)
            )
            await joined(leaving)
            others = NatsTransport(leaving._settings.model_copy(update={"url": far.url}))
            async with leaving, others, asyncio.timeout(30):
                async with leaving.consume(["work"], lease=600) as consumer:
                    waiting = asyncio.create_task(consumer.receive(1))
                    while not (await others.queues("work"))["work"].consumers:
                        await asyncio.sleep(0.01)
                    waiting.cancel()
                await others.publish(Publication("work", Message("m-1", b"body")))
                async with others.consume(["work"], lease=600) as consumer:
                    [delivery] = await consumer.receive(1)
                    await delivery.settle()


async def joined(transport: NatsTransport) -> None:
    """Connect; until the servers have found each other there is no JetStream."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await transport.connect()
            except BackendError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def answering(url: str, answers: list[bytes | None], timeout: float) -> AsyncIterator[Api]:
    """A JetStream domain that answers ``STREAM.INFO.s`` so; ``None`` is silence."""
    domain, server = f"d{uuid.uuid4().hex[:8]}", Client()
    await server.connect(url)

    async def answer(msg: Msg) -> None:
        if (told := answers.pop(0)) is not None:
            await msg.respond(told)

    await server.subscribe(f"$JS.{domain}.API.STREAM.INFO.s", cb=answer)
    await server.flush()
    link = Link(NatsSettings(url=url, domain=domain, timeout=timeout))
    await link.open()
    try:
        async with asyncio.timeout(30):
            yield Api(link)
    finally:
        await link.close()
        await server.close()


async def test_a_question_that_nobody_answers_is_asked_again(
    nats_server: Server | RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "_AGAIN", 0.05)
    async with answering(nats_server.url, [None, None, b'{"name": "s"}'], timeout=30) as api:
        assert await api.find("STREAM.INFO.s") == {"name": "s"}


async def test_a_question_that_is_never_answered_ends_in_time(
    nats_server: Server | RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "_AGAIN", 0.1)
    silence: list[bytes | None] = [None] * 100
    async with answering(nats_server.url, silence, timeout=0.5) as api:
        with pytest.raises(BackendUnavailable, match="did not answer in time"):
            await api.find("STREAM.INFO.s")
    assert 100 - len(silence) >= 3


async def test_who_publishes_to_a_stream_that_is_gone_does_not_notice(nats_server: Server | RunningServer) -> None:
    namespace = f"gone-{uuid.uuid4().hex[:12]}"
    client = Client()
    await client.connect(nats_server.url)
    async with NatsTransport(NatsSettings(url=nats_server.url, namespace=namespace)) as transport:
        await client.jetstream().delete_stream(f"paigeant_{namespace}_queues")
        await transport.publish(Publication("work", Message("m", b"body")))
        assert [message.id for message in await transport.peek("work")] == ["m"]
    await client.close()
