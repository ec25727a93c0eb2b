"""Which plugin a name or a URL selects, and what is said when it selects none."""

from __future__ import annotations

import sys

import pytest

from paigeant.errors import ConfigurationError, PluginConflictError, PluginError, PluginLoadError, PluginNotFound
from paigeant.plugins import CoreSettings, PluginRegistry, catalogue
from paigeant.plugins.discovery import discover

from .conftest import GOOD_CODEC

BROKER = """
from paigeant.builtin.inmemory.transport import InMemoryTransport
class Settings(PluginSettings):
    host: str = "localhost"
def make(settings):
    transport = InMemoryTransport("fake", namespace=settings.namespace)
    transport.seen = settings
    return transport
@hookimpl
def paigeant_transports():
    yield TransportPlugin(NAME, "A broker", Settings, make, schemes=SCHEMES)
"""


def broker(header: str, name: str, *schemes: str) -> str:
    return f"{header}\nNAME, SCHEMES = {name!r}, {schemes!r}\n{BROKER}"


def test_a_selected_name_loads_nothing_else(site, header) -> None:
    other = site.install("acme-other", "other", broker(header, "other", "other"))
    mine = site.install("acme-broker", "acme", broker(header, "acme", "acme"))
    PluginRegistry().transport("acme")
    assert site.imported(mine)
    assert not site.imported(other)


def test_an_unknown_name_lists_what_is_installed_and_guesses(site, header) -> None:
    site.install("acme-broker", "acme", broker(header, "acme"))
    with pytest.raises(PluginNotFound, match=r"no transport 'acmee'; installed: acme, inmemory.*Did you mean 'acme'\?"):
        PluginRegistry().transport("acmee")
    with pytest.raises(PluginNotFound, match=r"no transport 'SQLite'.*Did you mean 'sqlite'\?"):
        PluginRegistry().transport("SQLite")


@pytest.mark.parametrize(
    ("reference", "extra"), [("redis", "redis"), ("rediss://u:hunter2@h", "redis"), ("amqp://h", "rabbitmq")]
)
def test_a_missing_first_party_transport_names_its_pip_line(reference, extra, monkeypatch) -> None:
    core = [found for found in discover()[0] if found.distribution == "paigeant-core"]
    monkeypatch.setattr(catalogue, "discover", lambda: (core, []))
    with pytest.raises(PluginNotFound) as caught:
        PluginRegistry().transport(reference)
    assert f"{extra!r} is a first-party transport that is not installed" in str(caught.value)
    assert f'pip install "paigeant[{extra}]"' in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("reference", ["rabbitmq", "amqp://u:hunter2@h", "amqps://h"])
def test_a_transport_without_a_store_names_stores_to_pair_it_with(reference) -> None:
    pytest.importorskip("paigeant_rabbitmq")
    with pytest.raises(PluginNotFound, match=r"'rabbitmq' .* has no state store, only: transport") as caught:
        PluginRegistry().state_store(reference)
    assert "redis://HOST:6379, nats://HOST:4222, and sqlite" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_blocked_transport_is_not_called_missing(monkeypatch) -> None:
    pytest.importorskip("paigeant_rabbitmq")
    monkeypatch.setenv("PAIGEANT_BLOCK_PLUGINS", "rabbitmq")
    with pytest.raises(PluginError, match="PAIGEANT_BLOCK_PLUGINS"):
        PluginRegistry().transport("amqp://h")


def test_a_plugin_without_that_kind_says_what_it_has() -> None:
    with pytest.raises(PluginNotFound, match=r"plugin 'json' \(paigeant-core .*\) has no transport, only: serializer"):
        PluginRegistry().transport("json")


def test_scheme_of_another_name(site, header) -> None:
    site.install("acme-broker", "acme", broker(header, "acme", "acme", "acme+tls"))
    transport = PluginRegistry().transport("ACME+TLS://h")
    assert transport.seen.url == "ACME+TLS://h"  # type: ignore[attr-defined]


def test_a_plugin_named_like_a_scheme_it_does_not_serve(site, header) -> None:
    site.install("one", "wire", broker(header, "wire", "other"))
    site.install("two", "two", broker(header, "two", "wire"))
    transport = PluginRegistry().transport("wire://h")
    assert type(transport.seen).__module__ == "fake_two"  # type: ignore[attr-defined]


def test_a_scheme_nobody_serves() -> None:
    with pytest.raises(PluginNotFound, match="no transport serves URLs of scheme 'gopher'"):
        PluginRegistry().transport("gopher://h")


def test_a_scheme_that_two_serve(site, header) -> None:
    site.install("one", "one", broker(header, "one", "wire"), version="1")
    site.install("two", "two", broker(header, "two", "wire"), version="2")
    with pytest.raises(PluginConflictError, match="scheme 'wire' is provided by one 1 and two 2"):
        PluginRegistry().transport("wire://h")


@pytest.mark.parametrize("reference", ["", ":x", "a b", "red;is", "redis:", "redis:BIG", "redis:a:b", "../x"])
def test_malformed_reference(reference) -> None:
    with pytest.raises(ConfigurationError):
        PluginRegistry(CoreSettings()).state_store(reference)


def test_a_malformed_reference_that_may_hold_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PluginRegistry(CoreSettings()).transport("redis:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_instance_has_settings_of_its_own(site, header, monkeypatch) -> None:
    site.install("acme-broker", "acme", broker(header, "acme"))
    monkeypatch.setenv("PAIGEANT_ACME_HOST", "first")
    monkeypatch.setenv("PAIGEANT_ACME_BILLING_HOST", "second")
    registry = PluginRegistry()
    assert registry.transport("acme").seen.host == "first"  # type: ignore[attr-defined]
    assert registry.transport("acme:billing").seen.host == "second"  # type: ignore[attr-defined]
    assert registry.transport("acme:other").seen.host == "localhost"  # type: ignore[attr-defined]


def test_conflict_is_seen_from_metadata_alone(site, header, good_codec) -> None:
    modules = [site.install("one", "acme", good_codec, version="1.0"), site.install("two", "acme", good_codec)]
    registry = PluginRegistry(CoreSettings(serializers=["acme"]))
    with pytest.raises(PluginConflictError) as caught:
        registry.serializers()
    for part in ("'acme'", "one 1.0", "two 1.2.3", "PAIGEANT_BLOCK_PLUGINS"):
        assert part in str(caught.value)
    rows = [row for row in registry.installed() if row.name == "acme"]
    assert [(row.distribution, row.status) for row in rows] == [("one", "conflict"), ("two", "conflict")]
    assert "one 1.0" in rows[0].error
    assert not any(site.imported(module) for module in modules)
    assert PluginRegistry(CoreSettings()).serializers(), "others are not concerned"


@pytest.mark.parametrize("rival", ["acme-json", "zebra-json"])
def test_the_remedy_of_a_conflict_blocks_the_stranger(rival, site, good_codec) -> None:
    site.install(rival, "json", good_codec)
    with pytest.raises(PluginConflictError, match=rf"for example {rival}\)"):
        PluginRegistry(CoreSettings(serializers=["json"])).serializers()


def test_a_conflict_is_resolved_by_blocking_a_distribution(site, good_codec) -> None:
    site.install("one", "acme", good_codec.replace("x-acme", "x-one"))
    site.install("two", "acme", good_codec)
    registry = PluginRegistry(CoreSettings(serializers=["acme"], block_plugins="two"))
    assert registry.serializers()[0].media_type == "application/x-one"
    assert {(row.distribution, row.status) for row in registry.installed() if row.name == "acme"} == {
        ("one", "available"),
        ("two", "blocked"),
    }


def test_conflict_under_strict_is_raised_for_any_selection(site, good_codec) -> None:
    site.install("one", "acme", good_codec)
    site.install("two", "acme", good_codec)
    with pytest.raises(PluginConflictError):
        PluginRegistry(CoreSettings(strict_plugins=True)).transport("inmemory")


def test_a_copy_further_down_the_path_is_shadowed_not_in_conflict(site, good_codec, tmp_path, monkeypatch) -> None:
    site.install("acme-codec", "acme", good_codec, version="2.0")
    old = type(site)(tmp_path / "old")
    old.root.mkdir()
    old.metadata("Acme_Codec", "[paigeant]\nacme = fake_acme_codec\n", version="1.0")
    monkeypatch.setattr("sys.path", [str(site.root), str(old.root), *sys.path])
    rows = [row for row in PluginRegistry().installed() if row.name == "acme"]
    assert [(row.version, row.status) for row in rows] == [("2.0", "available")]


def test_blocked_plugin(site, good_codec, monkeypatch) -> None:
    module = site.install("acme-codec", "acme", good_codec)
    monkeypatch.setenv("PAIGEANT_BLOCK_PLUGINS", "msgpack, acme")
    monkeypatch.setenv("PAIGEANT_SERIALIZERS", "acme")
    registry = PluginRegistry()
    with pytest.raises(PluginError, match="'acme' is listed in PAIGEANT_BLOCK_PLUGINS"):
        registry.serializers()
    assert {row.name: row.status for row in registry.installed()}["acme"] == "blocked"
    assert not site.imported(module)


def test_without_autoload_only_named_plugins_are_loaded(site, header, good_codec, monkeypatch) -> None:
    named = site.install("acme-codec", "acme", good_codec)
    other = site.install("acme-broker", "other", broker(header, "other", "wire"))
    monkeypatch.setenv("PAIGEANT_DISABLE_PLUGIN_AUTOLOAD", "true")
    monkeypatch.setenv("PAIGEANT_SERIALIZERS", "acme")
    registry = PluginRegistry()
    assert registry.serializers()
    with pytest.raises(PluginNotFound, match="PAIGEANT_DISABLE_PLUGIN_AUTOLOAD"):
        registry.transport("wire://h")
    rows = {row.name: row for row in registry.installed()}
    assert rows["other"].status == "blocked"
    assert "PAIGEANT_DISABLE_PLUGIN_AUTOLOAD" in rows["other"].error
    assert site.imported(named)
    assert not site.imported(other)
    assert registry.transport("other").namespace == "default", "naming it is asking for it"


def test_an_installed_but_unlisted_plugin_is_inert(site, good_codec) -> None:
    module = site.install("acme-codec", "acme", good_codec)
    registry = PluginRegistry()
    assert [codec.media_type for codec in registry.serializers()] == ["application/json"]
    registry.signers(default_key="process")
    assert not site.imported(module)


def test_two_codecs_of_one_media_type(site, good_codec) -> None:
    site.install("acme-codec", "acme", good_codec.replace("application/x-acme", "application/json"))
    with pytest.raises(ConfigurationError, match="PAIGEANT_SERIALIZERS have the media type 'application/json'"):
        PluginRegistry(CoreSettings(serializers=["json", "acme"])).serializers()


SIGNER = """
class Key:
    alg, principal = "HS256", "acme"
    def __init__(self, kid): self.kid = kid
def make(settings):
    return MADE
@hookimpl
def paigeant_signers():
    yield SignerPlugin("acme", "Acme", PluginSettings, make)
"""


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        ("None", PluginLoadError, "must make"),
        ("([Key('a')], [Key('a')], [])", PluginLoadError, "must make"),
        ("([Key('a')], None)", PluginLoadError, "must make"),
        ("([Key('a b')], [])", PluginLoadError, "key id 'a b' must match"),
        ("([Key(None)], [])", PluginLoadError, "key id None must match"),
        ("([Key('a')], [Key('b'), Key('b')])", ConfigurationError, "verifying key id 'b'"),
        ("([Key('a'), Key('a')], [])", ConfigurationError, "signing key id 'a'"),
    ],
)
def test_a_signer_plugin_that_makes_something_else(made, error, message, site, header) -> None:
    site.install("acme-signer", "acme", header + SIGNER.replace("MADE", made))
    with pytest.raises(error, match=message):
        PluginRegistry(CoreSettings(signers=["acme"])).signers()


def test_a_signer_that_cannot_make_keys(site, header, tmp_path) -> None:
    site.install("acme-signer", "acme", header + SIGNER)
    with pytest.raises(PluginError, match="'acme' cannot make keys"):
        PluginRegistry().init_keys("acme", tmp_path / "key")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('secret')", "its factory raised RuntimeError, .*`paigeant --debug"),
        ("return object()", "its factory made an object of type 'object', not a Transport"),
        ("return InMemoryTransport('fake', namespace='elsewhere')", "does not honour settings.namespace"),
    ],
)
def test_a_factory_that_fails(body, message, site, header) -> None:
    source = broker(header, "acme").replace("    transport = InMemory", f"    {body}\n    transport = InMemory")
    site.install("acme-broker", "acme", source)
    with pytest.raises(PluginLoadError, match=message) as caught:
        PluginRegistry().transport("acme")
    assert "secret" not in str(caught.value)


def test_what_a_url_made_wrongly_is_told_without_its_password(site, header) -> None:
    source = broker(header, "acme", "acme").replace(
        "    transport = InMemory", "    return 3\n    transport = InMemory"
    )
    site.install("acme-broker", "acme", source)
    with pytest.raises(PluginLoadError, match="'acme://': its factory made an object of type 'int'") as caught:
        PluginRegistry().transport("acme://user:secret@host")
    assert "secret" not in str(caught.value)


def test_a_codec_plugin_that_makes_something_else(site, header) -> None:
    site.install("acme-codec", "acme", GOOD_CODEC.replace("PluginSettings, Codec", "PluginSettings, lambda _: 3"))
    with pytest.raises(PluginLoadError, match="of type 'int', not one with media_type, encode and decode"):
        PluginRegistry(CoreSettings(serializers=["acme"])).serializers()


OBSERVER = """
class Audit:
    def on_event(self, event): ...

async def late(settings): return Audit()

@hookimpl
def paigeant_observers():
    yield ObserverPlugin("acme", "Acme's audit", PluginSettings, FACTORY)
"""


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("lambda _: 3", "of type 'int', not one with `async def on_event"),
        ("lambda _: Audit()", "of type 'Audit', not one with `async def on_event"),
        ("late", "its factory is a coroutine function"),
    ],
)
def test_an_observer_plugin_that_makes_something_else(factory, message, site, header) -> None:
    site.install("acme-audit", "acme", header + OBSERVER.replace("FACTORY", factory))
    with pytest.raises(PluginLoadError, match=message):
        PluginRegistry(CoreSettings(observers=["acme"])).observers()


def test_errors_of_ours_pass_a_factory_unchanged(site, header) -> None:
    source = broker(header, "acme").replace(
        "    transport = InMemory",
        "    from paigeant.errors import MissingExtra\n    raise MissingExtra('pip')\n    transport = InMemory",
    )
    site.install("acme-broker", "acme", source)
    with pytest.raises(ConfigurationError, match=r"^pip$"):
        PluginRegistry().transport("acme")


def test_default_key_reaches_only_settings_that_ask_for_it(site, header) -> None:
    source = header + SIGNER.replace("MADE", "([Key(str(getattr(settings, 'default_key', 'none')))], [])")
    site.install("acme-signer", "acme", source)
    registry = PluginRegistry(CoreSettings(signers=["acme"]))
    assert registry.signers(default_key="process")[0][0].kid == "none"
    site.install(
        "acme2-signer",
        "acme2",
        source.replace('"acme", "Acme", PluginSettings', '"acme2", "Acme", Settings').replace(
            "class Key", "class Settings(PluginSettings):\n    default_key: object = None\n\nclass Key"
        ),
    )
    registry = PluginRegistry(CoreSettings(signers=["acme2"]))
    assert registry.signers(default_key="process")[0][0].kid == "process"
