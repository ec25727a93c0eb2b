"""The built-ins pass the kit that third parties use."""

from __future__ import annotations

from pathlib import Path

from paigeant.abc import Serializer, Signer, StateStore, Transport, Verifier
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.builtin.sqlite.store import SqliteStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.model.capabilities import Capabilities
from paigeant.plugins import CoreSettings, PluginRegistry
from paigeant.testing import PluginSuite, SerializerSuite, SignerSuite, StateStoreSuite, TransportSuite


class TestInMemoryTransport(TransportSuite):
    capabilities = Capabilities(
        atomic_settle=True, atomic_writes=True, renewable=True, counts_deliveries=True, max_delay=None
    )
    quiet = 0.1

    def make(self, tmp_path: Path) -> Transport:
        return InMemoryTransport(namespace=self.namespace)


class TestInMemoryStore(StateStoreSuite):
    def make(self, tmp_path: Path) -> StateStore:
        return InMemoryStore(namespace=self.namespace)


class TestInMemoryPlugin(PluginSuite):
    name = "inmemory"
    kinds = ("transport", "state store")
    urls = ("inmemory://other",)


class TestSqliteTransport(TransportSuite):
    capabilities = Capabilities(
        durable=True,
        atomic_settle=True,
        atomic_writes=True,
        renewable=True,
        counts_deliveries=True,
        max_delay=None,
        persistent_queues=True,
    )

    def make(self, tmp_path: Path) -> Transport:
        return SqliteTransport(tmp_path / "data" / "queues.db", namespace=self.namespace)

    def make_unreachable(self, tmp_path: Path) -> Transport:
        return SqliteTransport(tmp_path)  # a directory


class TestSqliteStore(StateStoreSuite):
    capabilities = Capabilities(durable=True)

    def make(self, tmp_path: Path) -> StateStore:
        return SqliteStore(tmp_path / "data" / "entries.db", namespace=self.namespace)

    def make_unreachable(self, tmp_path: Path) -> StateStore:
        return SqliteStore(tmp_path)  # a directory


class TestSqlitePlugin(PluginSuite):
    name = "sqlite"
    kinds = ("transport", "state store")
    client_libraries = ("sqlite3",)
    urls = ("sqlite:///tmp/some.db",)

    def environment(self, tmp_path: Path) -> dict[str, str]:
        return {"PAIGEANT_SQLITE_PATH": str(tmp_path / "some.db")}


class TestJsonSerializer(SerializerSuite):
    def make(self, tmp_path: Path) -> Serializer:
        return PluginRegistry(CoreSettings(serializers=["json"])).serializers()[0]


class TestJsonPlugin(PluginSuite):
    name = "json"
    kinds = ("serializer",)


class TestMsgpackSerializer(SerializerSuite):
    def make(self, tmp_path: Path) -> Serializer:
        return PluginRegistry(CoreSettings(serializers=["msgpack"])).serializers()[0]


class TestMsgpackPlugin(PluginSuite):
    name = "msgpack"
    kinds = ("serializer",)
    client_libraries = ("msgpack",)


class TestHs256Signer(SignerSuite):
    def make(self, tmp_path: Path) -> tuple[list[Signer], list[Verifier]]:
        return PluginRegistry(CoreSettings(signers=["hs256"])).signers(default_key=tmp_path / "key")


class TestHs256Plugin(PluginSuite):
    name = "hs256"
    kinds = ("signer",)
    client_libraries = ("cryptography", "joserfc")
