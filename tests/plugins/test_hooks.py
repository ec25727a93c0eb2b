"""Every hook does what its specification says, is documented, and has a test here."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from paigeant.model.events import WorkflowEvent
from paigeant.plugins import CoreSettings, PluginRegistry, hookspecs

DOCS = Path(__file__).parents[2] / "docs" / "plugins" / "index.md"


def test_paigeant_transports(site, header) -> None:
    site.install(
        "acme-broker",
        "acme",
        header
        + """
from paigeant.builtin.inmemory.transport import InMemoryTransport
def make(settings):
    transport = InMemoryTransport("acme", namespace=settings.namespace)
    transport.seen = settings
    return transport

@hookimpl
def paigeant_transports():
    yield TransportPlugin("acme", "Acme's broker", PluginSettings, make, schemes=("acme", "acmes"))
""",
    )
    registry = PluginRegistry(CoreSettings(namespace="team"))
    transport = registry.transport("acmes://broker:1/x")
    assert transport.namespace == "team"
    assert transport.seen.url == "acmes://broker:1/x"  # type: ignore[attr-defined]


def test_paigeant_state_stores(site, header) -> None:
    site.install(
        "acme-store",
        "acme",
        header
        + """
from paigeant.builtin.inmemory.transport import InMemoryTransport
def make(settings):
    return InMemoryTransport("acme", namespace=settings.namespace).state_store()

@hookimpl
def paigeant_state_stores():
    yield StateStorePlugin("acme", "Acme's store", PluginSettings, make)
""",
    )
    assert PluginRegistry().state_store("acme", namespace="other").namespace == "other"


def test_paigeant_serializers(site, good_codec) -> None:
    site.install("acme-codec", "acme", good_codec)
    codecs = PluginRegistry(CoreSettings(serializers=["acme", "json"])).serializers()
    assert [codec.media_type for codec in codecs] == ["application/x-acme", "application/json"]


ACME_SIGNER = """
class Key:
    alg, principal = "HS256", "acme"
    def __init__(self, kid): self.kid = kid
    async def sign(self, signing_input): return b"s" * 32
    async def verify(self, signing_input, signature): return signature == b"s" * 32

class Settings(PluginSettings):
    kid: str = "acme-1"

@hookimpl
def paigeant_signers():
    yield SignerPlugin("acme", "Acme's vault", Settings, lambda s: ([Key(s.kid)], [Key(s.kid), Key("acme-0")]))
"""


async def test_paigeant_signers(site, header, monkeypatch) -> None:
    """Two signers compose by configuration, one of them from another distribution."""
    site.install("acme-signer", "acme", header + ACME_SIGNER)
    monkeypatch.setenv("PAIGEANT_SIGNERS", "hs256, acme")
    monkeypatch.setenv("PAIGEANT_ACME_KID", "acme-2")
    signers, verifiers = PluginRegistry().signers(default_key="process")
    assert [signer.kid.partition(":")[0] for signer in signers] == ["hs256", "acme-2"]
    by_kid = {verifier.kid: verifier for verifier in verifiers}
    assert len(by_kid) == 3
    for signer in signers:
        assert await by_kid[signer.kid].verify(b"input", await signer.sign(b"input"))
        assert not await by_kid[signer.kid].verify(b"other", b"x")


async def test_paigeant_observers(site, header) -> None:
    site.install(
        "acme-audit",
        "acme",
        header
        + """
class Audit:
    async def on_event(self, event): ...

@hookimpl
def paigeant_observers():
    yield ObserverPlugin("acme", "Acme's audit", PluginSettings, lambda settings: Audit())
""",
    )
    assert PluginRegistry().observers() == []
    (observer,) = PluginRegistry(CoreSettings(observers="acme")).observers()
    assert inspect.iscoroutinefunction(observer.on_event)
    assert WorkflowEvent is not None


@pytest.mark.parametrize("hook", hookspecs.HOOKS)
def test_every_hook_has_a_test_and_a_heading_with_its_signature(hook) -> None:
    assert f"test_{hook}" in globals(), f"write test_{hook} here"
    signature = f"## `{hook}{inspect.signature(getattr(hookspecs, hook))}`".replace("'", "")
    assert signature in DOCS.read_text(), f"docs/plugins/index.md lacks the heading {signature}"


def test_every_specified_hook_is_known_to_the_loader() -> None:
    specified = {name for name, member in vars(hookspecs).items() if hasattr(member, "paigeant_spec")}
    assert specified == set(hookspecs.HOOKS)
