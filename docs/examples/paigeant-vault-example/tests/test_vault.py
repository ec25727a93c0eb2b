"""The conformance kit against a vault in a process of its own, and what happens when the vault is away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paigeant_vault_example.key import Service, VaultKey

from paigeant.errors import BackendUnavailable, ConfigurationError, SignerUnavailable
from paigeant.plugins import CoreSettings, PluginRegistry
from paigeant.testing import PluginSuite, SignerSuite

SERVICE = Path(__file__).parents[1] / "vault_service.py"
TOKEN = "s.trial"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def vault() -> Iterator[str]:
    """The URL of a vault."""
    process = subprocess.Popen(
        [sys.executable, str(SERVICE), TOKEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(timeout=10)


def key(url: str, name: str = "records", token: str = TOKEN) -> VaultKey:
    return VaultKey(Service(url, token, timeout=2.0), name, principal="namespace:default")


class TestVault(SignerSuite):
    url = NOWHERE

    @pytest.fixture(autouse=True)
    def _vault(self, vault: str) -> None:
        self.url = vault

    def make(self, tmp_path: Path) -> tuple[list[VaultKey], list[VaultKey]]:
        keys = [key(self.url), key(self.url, "others")]
        return keys, keys

    def make_unavailable(self, tmp_path: Path) -> tuple[list[VaultKey], list[VaultKey]]:
        keys = [key(NOWHERE)]
        return keys, keys


class TestVaultPlugin(PluginSuite):
    name = "vault"
    kinds = ("signer",)
    client_libraries = ("http.client",)

    def environment(self, tmp_path: Path) -> dict[str, str]:
        return {"PAIGEANT_VAULT_URL": NOWHERE, "PAIGEANT_VAULT_TOKEN": TOKEN}


def test_a_vault_that_is_away_makes_no_signature_wrong() -> None:
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1"):
        asyncio.run(key(NOWHERE).verify(b"input", bytes(32)))


def test_a_wrong_token_is_told_without_the_token(vault: str) -> None:
    with pytest.raises(SignerUnavailable, match="403") as caught:
        asyncio.run(key(vault, token="s.wrong").sign(b"input"))
    assert "s.wrong" not in str(caught.value)


def test_settings(vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_VAULT_TOKEN", TOKEN)
    registry = PluginRegistry(CoreSettings(signers=("vault",)))
    with pytest.raises(ConfigurationError, match="PAIGEANT_VAULT_URL"):
        registry.signers()
    monkeypatch.setenv("PAIGEANT_VAULT_URL", vault)
    monkeypatch.setenv("PAIGEANT_VAULT_KEY", "billing")
    ((signer,), (verifier,)) = PluginRegistry(CoreSettings(signers=("vault",))).signers(namespace="blue")
    assert (signer.kid, verifier.principal) == ("vault:billing", "namespace:blue")
