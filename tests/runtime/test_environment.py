"""Which stores and keys go with which transports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paigeant import ConfigurationError, Worker, WorkflowClient, WorkflowDispatcher, activity
from paigeant.builtin.hs256.keyfile import generate_key_file
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.envelope.security import Security
from paigeant.model.message import Message, Publication
from paigeant.plugins import PluginRegistry


@pytest.mark.parametrize("given", [True, False])
async def test_a_store_that_dies_with_its_process_does_not_go_with_messages_that_live_on(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not given:
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "inmemory")
    store = InMemoryStore() if given else None
    with pytest.raises(ConfigurationError, match=r"one process.*; use the transport's own store"):
        async with WorkflowClient(SqliteTransport(tmp_path / "queues.db"), state_store=store):
            pass


@pytest.mark.parametrize(
    "part",
    [
        {"state_store": InMemoryStore("inmemory://state", namespace="staging")},
        {"security": Security.insecure("staging")},
    ],
    ids=lambda part: next(iter(part)),
)
def test_parts_of_another_namespace_are_refused(part: dict[str, Any]) -> None:
    transport = InMemoryTransport("inmemory://prod", namespace="prod")
    with pytest.raises(ConfigurationError, match=r"'staging'.*'prod'; give both the same namespace"):
        WorkflowClient(transport, **part)


@activity
async def idle() -> None: ...


async def opened(**options: Any) -> None:
    async with WorkflowClient(InMemoryTransport("inmemory://profiles"), **options):
        pass


@pytest.mark.parametrize("profile", ["dev", "shared-secret", "prod"])
async def test_only_the_profile_for_development_makes_a_key(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_SECURITY", profile)
    if profile == "dev":
        return await opened()
    with pytest.raises(ConfigurationError, match="paigeant keys init"):
        await opened()
    PluginRegistry().init_keys("hs256", tmp_path / "shared.json")
    monkeypatch.setenv("PAIGEANT_HS256_KEY_FILE", str(tmp_path / "shared.json"))
    return await opened()


@pytest.mark.parametrize("face", [WorkflowClient, WorkflowDispatcher, Worker])
async def test_in_production_nothing_goes_unsigned_though_the_code_says_so(
    face: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_SECURITY", "prod")
    parts = ([idle],) if face is Worker else ()
    with pytest.raises(ConfigurationError, match=r"is prod, and .*Security\.insecure.*paigeant keys init"):
        async with face(InMemoryTransport("inmemory://profiles"), *parts, security=Security.insecure("default")):
            pass


async def test_that_nothing_is_signed_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PAIGEANT_SECURITY", "insecure")
    await opened()
    assert "messages are not signed (PAIGEANT_SECURITY=insecure)" in caplog.text


@pytest.mark.parametrize("profile", ["dev", "shared-secret", "insecure"])
async def test_elsewhere_the_code_may_say_so(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_SECURITY", profile)
    await opened(security=Security.insecure("default"))


@pytest.mark.parametrize("kept", ["message", "workflow"])
async def test_a_key_file_that_was_not_restored_with_its_database_is_told(
    kept: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def transport() -> SqliteTransport:
        return SqliteTransport(tmp_path / "queues.db", namespace="shop")

    async with transport() as used, WorkflowClient(used):
        if kept == "message":
            await used.publish(Publication("work", Message("1", b"")))
        else:
            await used.state_store().put("workflow/1", b"")
    async with transport() as used, WorkflowClient(used):
        assert not caplog.records
    (tmp_path / "shop.key").unlink()
    for _ in range(2):  # once: then the key is there
        async with transport() as used, WorkflowClient(used):
            [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"{tmp_path / 'shop.key'} was missing" in record.getMessage()
    assert "restore that file from the backup" in record.getMessage()


async def test_a_key_of_its_own_misses_none_beside_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generate_key_file(tmp_path / "own.key")
    monkeypatch.setenv("PAIGEANT_HS256_KEY_FILE", str(tmp_path / "own.key"))
    async with SqliteTransport(tmp_path / "queues.db") as transport, WorkflowClient(transport):
        await transport.publish(Publication("work", Message("1", b"")))
        async with WorkflowClient(transport):
            assert not caplog.records
