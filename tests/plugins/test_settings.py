"""Where settings come from, which one wins, and what is said about wrong, missing and unknown ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, field_validator

from paigeant.errors import ConfigurationError, PaigeantWarning
from paigeant.plugins import CommaSeparated, CoreSettings, PluginRegistry, PluginSettings
from paigeant.plugins.settings import read_plugin_settings
from paigeant.plugins.sources import Scope, Sources


class Tls(BaseModel):
    ca_file: str = "system"


class Settings(PluginSettings):
    path: Path = Path("default")
    port: int = 1
    hosts: CommaSeparated = ()
    password: SecretStr = SecretStr("")
    tls: Tls = Tls()

    @field_validator("password")
    @classmethod
    def _strong(cls, value: SecretStr) -> SecretStr:
        if "weak" in value.get_secret_value():
            raise ValueError(f"{value.get_secret_value()} is weak")
        return value


def read(name: str = "maildir", instance: str | None = None, **values: object) -> Settings:
    return read_plugin_settings(Settings, Scope.of(Sources.read(), name, instance), values)


def test_first_source_wins(tmp_path, monkeypatch) -> None:
    """Argument, environment, ``.env``, secrets directory, TOML, default: in this order."""
    assert read().path == Path("default")
    Path("paigeant.toml").write_text('[maildir]\npath = "toml"\n')
    assert read().path == Path("toml")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "paigeant_maildir_path").write_text("secret")
    monkeypatch.setenv("PAIGEANT_SECRETS_DIR", str(tmp_path / "secrets"))
    assert read().path == Path("secret")
    Path(".env").write_text("PAIGEANT_MAILDIR_PATH=dotenv\n")
    assert read().path == Path("dotenv")
    monkeypatch.setenv("PAIGEANT_MAILDIR_PATH", "environment")
    assert read().path == Path("environment")
    assert read(path="argument").path == Path("argument")


def test_the_same_order_for_the_core(monkeypatch) -> None:
    Path("paigeant.toml").write_text('[paigeant]\nlease = 5\nserializers = ["msgpack", "json"]\n')
    assert CoreSettings().lease == 5
    assert CoreSettings().serializers == ("msgpack", "json")
    Path(".env").write_text("PAIGEANT_LEASE=6\n")
    assert CoreSettings().lease == 6
    monkeypatch.setenv("PAIGEANT_LEASE", "7")
    assert CoreSettings().lease == 7
    assert CoreSettings(lease=8).lease == 8


def test_config_file_and_secrets_may_be_named_in_dotenv(tmp_path) -> None:
    (tmp_path / "other.toml").write_text("[paigeant]\nlease = 9\n")
    Path(".env").write_text(f"PAIGEANT_CONFIG_FILE={tmp_path / 'other.toml'}\n")
    assert CoreSettings().lease == 9


def test_instances_read_their_own_table_and_variables(monkeypatch) -> None:
    Path("paigeant.toml").write_text("[maildir]\nport = 2\n[maildir.billing]\nport = 3\n")
    monkeypatch.setenv("PAIGEANT_MAILDIR_BILLING_EU_PORT", "4")
    assert read().port == 2
    assert read(instance="billing").port == 3
    assert read(instance="billing-eu").port == 4
    assert read("mail-dir.2").port == 1
    monkeypatch.setenv("PAIGEANT_MAIL_DIR_2_PORT", "5")
    assert read("mail-dir.2").port == 5


def test_lists_and_nested_models(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_MAILDIR_HOSTS", " a, b ,,c,")
    monkeypatch.setenv("PAIGEANT_MAILDIR_TLS__CA_FILE", "mine")
    assert read().hosts == ("a", "b", "c")
    assert read().tls.ca_file == "mine"
    assert read(hosts=["x"]).hosts == ("x",)


def test_outside_the_core_only_arguments_count(monkeypatch) -> None:
    """A field ``path`` must never be filled from ``PATH``, which every process has."""
    monkeypatch.setenv("PORT", "99")
    assert Settings() == Settings(path="default", port=1)


def test_empty_variables_are_unset(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_SIGNERS", "")
    monkeypatch.setenv("PAIGEANT_TRANSPORT", "")
    assert CoreSettings().signers == ("hs256",)
    assert CoreSettings().transport == "inmemory"
    monkeypatch.setenv("PAIGEANT_TRANSPROT", "")
    PluginRegistry()
    monkeypatch.setenv("PAIGEANT_LEASE", "")
    Path("paigeant.toml").write_text("[paigeant]\nlease = 0\n")
    with pytest.raises(ConfigurationError, match=r"'lease' in table \[paigeant\]"):
        CoreSettings()


def test_a_wrong_namespace_is_laid_to_the_variable_that_is_read() -> None:
    with pytest.raises(ConfigurationError, match="set PAIGEANT_NAMESPACE"):
        PluginRegistry().transport("inmemory", namespace="Not one")


def test_defaults() -> None:
    settings = CoreSettings()
    assert settings.model_dump() == {
        "transport": "inmemory",
        "namespace": "default",
        "state_store": None,
        "serializers": ("json",),
        "signers": ("hs256",),
        "observers": (),
        "security": None,
        "strict_plugins": False,
        "disable_plugin_autoload": False,
        "block_plugins": (),
        "max_message_bytes": 262_144,
        "max_records": 256,
        "workflow_ttl": 86_400.0,
        "planner_model": None,
        "lease": 30.0,
        "concurrency": 100,
        "grace": 30.0,
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LEASE", "0"),
        ("LEASE", "0.9"),
        ("LEASE", "nan"),
        ("LEASE", "inf"),
        ("LEASE", "soon"),
        ("GRACE", "-1"),
        ("CONCURRENCY", "0"),
        ("MAX_MESSAGE_BYTES", "1048577"),
        ("MAX_RECORDS", "1025"),
        ("WORKFLOW_TTL", "2592001"),
        ("SECURITY", "none"),
        ("NAMESPACE", "Upper"),
        ("SIGNERS", "hs256,hs256"),
        ("SERIALIZERS", ","),
        ("STRICT_PLUGINS", "perhaps"),
        ("TRANSPORT", "no plugin"),
    ],
)
def test_wrong_core_setting(variable, value, monkeypatch) -> None:
    monkeypatch.setenv(f"PAIGEANT_{variable}", value)
    with pytest.raises(ConfigurationError, match=f"PAIGEANT_{variable}"):
        CoreSettings()


def test_a_wrong_value_names_where_it_was_read() -> None:
    Path("paigeant.toml").write_text('[paigeant]\nlease = "soon"\n')
    with pytest.raises(ConfigurationError, match=r"'lease' in table \[paigeant\] of .*paigeant\.toml: .*default 30\.0"):
        CoreSettings()


def test_secrets_never_show(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_MAILDIR_PASSWORD", "weak-hunter2")
    monkeypatch.setenv("PAIGEANT_MAILDIR_PORT", "hunter2")
    with pytest.raises(ConfigurationError) as caught:
        read()
    shown = "".join(str(error) for error in (caught.value, caught.value.__cause__))
    assert "PAIGEANT_MAILDIR_PASSWORD: not a valid value" in shown
    assert "PAIGEANT_MAILDIR_PORT" in shown
    assert "weak-hunter2" not in str(caught.value)
    assert "input_value" not in shown
    assert "hunter2" not in repr(PluginSettings(url="redis://u:hunter2@h"))
    assert "hunter2" not in repr(CoreSettings(transport="redis://u:hunter2@h", state_store="redis://u:hunter2@h"))


@pytest.mark.parametrize("name", ["TRANSPORT", "STATE_STORE", "SERIALIZERS", "SIGNERS", "OBSERVERS", "NAMESPACE"])
def test_no_value_of_the_core_is_shown(name, monkeypatch) -> None:
    monkeypatch.setenv(f"PAIGEANT_{name}", "Hunter 2")
    with pytest.raises(ConfigurationError, match=f"^PAIGEANT_{name}: ") as caught:
        CoreSettings()
    assert "Hunter" not in str(caught.value)


def test_a_missing_setting_names_its_variable() -> None:
    class Strict(PluginSettings):
        path: Path

    with pytest.raises(ConfigurationError, match=r"^PAIGEANT_MAILDIR_PATH is not set, and has no default$"):
        read_plugin_settings(Strict, Scope.of(Sources.read(), "maildir"), {})


def test_values_that_must_be_json(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_MAILDIR_TLS", "{not json")
    with pytest.raises(ConfigurationError, match=r"PAIGEANT_MAILDIR_\*.*JSON"):
        read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[paigeant\n", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"paigeant = 1\n", "'paigeant' must be a table, not int"),
        (b"[maildir]\nbilling = 1\n", "'maildir.billing' must be a table, not int"),
    ],
)
def test_damaged_toml(content, message) -> None:
    Path("paigeant.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read(instance="billing") if b"maildir" in content else CoreSettings()


def test_a_named_file_that_is_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PAIGEANT_CONFIG_FILE", str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigurationError, match=r"absent\.toml .*PAIGEANT_CONFIG_FILE"):
        CoreSettings()


def test_a_secrets_directory_that_is_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PAIGEANT_SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"PAIGEANT_SECRETS_DIR: .* is not a directory"):
        CoreSettings()


def test_dotenv_that_is_no_text() -> None:
    Path(".env").write_bytes(b"PAIGEANT_LEASE=\xff\n")
    with pytest.raises(ConfigurationError, match=r"cannot read .*\.env"):
        CoreSettings()


def test_a_bad_line_of_dotenv_is_one_warning_without_its_text(caplog) -> None:
    Path(".env").write_text("PAIGEANT_LEASE=7\nthe password: hunter2\nPAIGEANT_GRACE=8\n")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        PluginRegistry()
        settings = PluginRegistry().settings
    assert (settings.lease, settings.grace) == (7.0, 8.0)
    (warning,) = seen
    assert warning.category is PaigeantWarning
    assert str(warning.message) == f"line 2 of {Path('.env').absolute()} is ignored: it is not NAME=value"
    assert caplog.text == ""


def test_blocking_what_is_not_there_is_a_warning(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_BLOCK_PLUGINS", "msgpack,slqite,paigeant-core")
    with pytest.warns(PaigeantWarning, match=r": slqite \(did you mean sqlite\?\) in PAIGEANT_BLOCK_PLUGINS$"):
        PluginRegistry()


def test_unknown_settings_give_one_warning_with_the_nearest_name(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_TRANSPROT", "sqlite")
    monkeypatch.setenv("PAIGEANT_GIBBERISH_ZZZ", "x")
    monkeypatch.setenv("PAIGEANT_HS256_KEY_FILE", "of an installed plugin, so not unknown")
    monkeypatch.setenv("PAIGEANT_SECRETS_DIR", ".")
    Path("paigeant.toml").write_text(
        'transport = "sqlite"\n[paigeant]\nlaese = 1\n[jsn]\nx = 1\n[hs256]\nkey_file = "x"\n'
    )
    with pytest.warns(PaigeantWarning) as seen:
        PluginRegistry()
    (warning,) = seen
    text = str(warning.message)
    assert "PAIGEANT_TRANSPROT (did you mean PAIGEANT_TRANSPORT?)" in text
    assert "PAIGEANT_GIBBERISH_ZZZ;" in text
    assert "laese (did you mean lease?) in table [paigeant]" in text
    assert "transport (it belongs into table [paigeant]) at the top of" in text
    assert "jsn (did you mean json?) at the top of" in text
    assert "HS256" not in text.upper().replace("JSN", "")
    assert "SECRETS" not in text


def test_unknown_settings_of_a_plugin_warn_when_it_is_used(site, header, monkeypatch) -> None:
    site.install(
        "acme-codec",
        "acme",
        header
        + """
class Settings(PluginSettings):
    level: int = 1
    tls: dict = {}
@hookimpl
def paigeant_serializers():
    yield SerializerPlugin("acme", "Acme", Settings, Codec)
""",
    )
    site.install("acme-codec-2", "acme-two", header)
    for name in ("LEVLE", "LEVEL", "URL", "TLS__X", "EU_LEVEL", "TWO_ANYTHING", "NAMESPACE"):
        monkeypatch.setenv(f"PAIGEANT_ACME_{name}", "{}" if name == "TLS" else "2")
    Path("paigeant.toml").write_text("[acme]\nlevl = 1\n[acme.eu]\nlevel = 1\nlvl = 2\n")
    registry = PluginRegistry(CoreSettings(serializers=["acme"]))
    with pytest.warns(PaigeantWarning) as seen:
        registry.serializers()
        registry.serializers()
    (warning,) = seen
    text = str(warning.message)
    assert "PAIGEANT_ACME_LEVLE (did you mean PAIGEANT_ACME_LEVEL?)" in text
    assert "levl (did you mean level?) in table [acme]" in text
    assert "PAIGEANT_ACME_NAMESPACE" in text, "the namespace is the core's alone"
    assert text.count("PAIGEANT_") == 3
    with pytest.warns(PaigeantWarning, match=r"lvl \(did you mean level\?\) in table \[acme\.eu\]"):
        PluginRegistry(CoreSettings(serializers=["acme:eu"])).serializers()


def test_settings_given_by_hand_are_not_judged_by_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_TRANSPROT", "sqlite")
    PluginRegistry(CoreSettings())


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        CoreSettings().lease = 1  # type: ignore[misc]
