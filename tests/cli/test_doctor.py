"""``paigeant doctor``: what it finds on the built-in backends, and on an acme that can be sick in many ways."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from paigeant.cli.checkup import Checkup, judge_skew
from paigeant.model.finding import Severity

from .conftest import InProcess, Result

PASSWORD = "s3cr3t-enough"
ACME = """
import asyncio
from paigeant.builtin.inmemory.store import InMemoryStore
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.errors import BackendUnavailable
from paigeant.model.capabilities import Capabilities
from paigeant.model.finding import Finding, Severity
from paigeant.plugins import PluginSettings, SignerPlugin, StateStorePlugin, TransportPlugin, hookimpl

class Settings(PluginSettings):
    fault: str = ""
    loopback: bool = True
    password: str = ""
    ahead: float = 0.0

class Acme(InMemoryTransport):
    scope = "network"
    capabilities = Capabilities(renewable=True, max_message=1000)

    def __init__(self, settings):
        super().__init__(namespace=settings.namespace)
        self.settings, self.loopback, self.location = settings, settings.loopback, "acme.example:1"

    async def connect(self):
        if self.settings.fault == "refused":
            told = f"refused; start acme with {self.settings.password!r}"
            raise BackendUnavailable(f"acme at {self.settings.url}: {told}")
        if self.settings.fault == "leaks":
            raise OSError(self.settings.password)
        if self.settings.fault == "hangs":
            await asyncio.Event().wait()
        await super().connect()

    async def diagnose(self):
        if self.settings.fault == "raises":
            raise BackendUnavailable("acme left; bring it back")
        return [Finding(Severity.NOTE, "version", f"acme 1.0, entered with {self.settings.password!r}")]

    def state_store(self):
        return None

class Store(InMemoryStore):
    scope = "network"
    ahead = 0.0

    async def now(self):
        return await super().now() + self.ahead

    async def diagnose(self):
        return [Finding(Severity.PROBLEM, "eviction", "acme forgets", "tell it not to")]

def make_store(settings):
    store = Store(namespace=settings.namespace)
    store.ahead = settings.ahead
    return store

class Key:
    kid, alg, principal = "acme", "HS256", "acme"

    async def sign(self, data):
        return b"signed"

    async def verify(self, data, signature):
        return False

@hookimpl
def paigeant_signers():
    yield SignerPlugin("acme", "A signer", Settings, lambda settings: ([Key()], [Key()]))

@hookimpl
def paigeant_transports():
    yield TransportPlugin("acme", "A transport", Settings, Acme, schemes=("acme",))

@hookimpl
def paigeant_state_stores():
    yield StateStorePlugin("acme", "A store", Settings, make_store, schemes=("acme",))
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin ``acme``: a transport of scope ``network`` without a store, and a store."""
    site = tmp_path / "site"
    info = site / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[paigeant]\nacme = acme_doctored\n")
    (site / "acme_doctored.py").write_text(ACME)
    monkeypatch.delitem(sys.modules, "acme_doctored", raising=False)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def findings(done: Result, subject: str) -> list[tuple[str, str, str]]:
    return [
        (one["severity"], one["message"], one["remedy"]) for one in done.json["findings"] if one["subject"] == subject
    ]


def finding(done: Result, subject: str) -> tuple[str, str, str]:
    (found,) = findings(done, subject)
    return found


# --- the built-in backends


def test_sqlite_is_well(cli: InProcess) -> None:
    done = cli("doctor", "--json")
    assert done.code == 0
    told: dict[str, Any] = done.json
    assert (told["ok"], told["transport"], told["mode"]) == (True, "sqlite", "shared")
    assert told["location"].endswith("default.db")
    assert {row["severity"] for row in told["findings"]} <= {"ok", "note", "warning"}
    assert {"version", "journal mode", "store", "clock skew", "keys", "key", "limits"} <= {
        row["subject"] for row in told["findings"]
    }
    assert len(findings(done, "version")) == 1  # the transport's own store does not say everything again
    people = cli("doctor")
    assert people.code == 0
    assert people.out.splitlines()[0].split() == ["severity", "subject", "found", "remedy"]
    assert "shared mode" in people.out


def test_the_form_of_a_url_is_shown_whole(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hides passwords must not take it for a URL with one."""
    pytest.importorskip("paigeant_redis")
    monkeypatch.setenv("PAIGEANT_REDIS_URL", "redis://h:x")
    done = cli("doctor", "--transport", "redis", "--json")
    _, message, remedy = finding(done, "transport redis")
    assert "PAIGEANT_REDIS_URL" in message
    assert "redis://host[:port]" in remedy
    assert "user:password@" in remedy
    assert "[redacted]" not in remedy


def test_without_settings_memory_is_a_warning(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIGEANT_TRANSPORT")
    done = cli("doctor", "--json")
    assert (done.code, finding(done, "durability")[0]) == (0, "warning")


def test_what_cannot_be_opened_is_a_problem_with_its_remedy(
    cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_SQLITE_PATH", str(tmp_path))
    done = cli("doctor", "--json")
    severity, message, remedy = finding(done, "transport sqlite")
    assert (done.code, severity) == (1, "problem")
    assert str(tmp_path) in message
    assert remedy.startswith("set PAIGEANT_SQLITE_PATH to a file")
    assert cli("doctor").code == 1


def test_wrong_settings_are_a_problem(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_LEASE", "soon")
    done = cli("doctor", "--json")
    assert done.code == 1
    assert "PAIGEANT_LEASE" in finding(done, "settings")[1]


def test_a_missing_plugin_is_a_problem(cli: InProcess) -> None:
    done = cli("doctor", "--json", "--transport", "carrier-pigeon")
    severity, message, _ = finding(done, "transport carrier-pigeon")
    assert (done.code, severity) == (1, "problem")
    assert "carrier-pigeon" in message


def test_a_key_that_others_can_read_is_a_problem(
    cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "shop.key"
    assert cli("keys", "init", "--path", str(key)).code == 0
    monkeypatch.setenv("PAIGEANT_HS256_KEY_FILE", str(key))
    good = cli("doctor", "--json")
    assert (good.code, finding(good, "keys")[0], findings(good, "key")) == (0, "ok", [])
    key.chmod(0o644)
    bad = cli("doctor", "--json")
    severity, message, _ = finding(bad, "keys")
    assert (bad.code, severity) == (1, "problem")
    assert "chmod 600" in message


def test_a_codec_that_is_not_there_is_a_problem(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_SERIALIZERS", "json,yaml")
    done = cli("doctor", "--json")
    assert (done.code, finding(done, "serializers")[0]) == (1, "problem")


def test_without_its_store_the_mode_is_none(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    done = cli("doctor", "--json")
    assert (done.code, done.json["mode"], finding(done, "store")[0]) == (0, "none", "note")
    assert finding(done, "clock skew")[0] == "ok"  # its clock can be asked all the same


def test_a_store_that_dies_with_its_process_is_a_problem(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "inmemory")
    done = cli("doctor", "--json")
    problems = [one for one in findings(done, "store inmemory") if one[0] == "problem"]
    assert (done.code, len(problems)) == (1, 1)
    assert "InMemoryStore lives inside one process" in problems[0][1]
    assert problems[0][2].startswith("use the transport's own store (leave PAIGEANT_STATE_STORE unset)")


# --- a transport of the network


@pytest.mark.usefixtures("acme")
class TestNetwork:
    def test_without_a_store_it_names_what_to_pair_it_with(
        self, cli: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done = cli("doctor", "--json", "--transport", "acme")
        severity, message, remedy = finding(done, "store")
        assert (done.code, done.json["mode"], severity) == (0, "none", "warning")
        assert "brings none" in message
        for name in ("sqlite", "redis://", "nats://", "none"):
            assert name in remedy
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
        chosen = cli("doctor", "--json", "--transport", "acme")
        assert finding(chosen, "store")[0] == "note"

    def test_with_a_store_of_its_own_kind(self, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "sqlite")
        done = cli("doctor", "--json", "--transport", "acme")
        assert (done.code, done.json["mode"], done.json["store"]) == (0, "separate", "sqlite")
        assert "separate mode" in finding(done, "store")[1]
        assert finding(done, "store sqlite") == ("ok", "reached", "")
        assert finding(done, "store reach")[0] == "note"  # one machine

    def test_what_the_store_says_counts(self, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "acme")
        done = cli("doctor", "--json")
        assert done.code == 1
        assert finding(done, "store eviction") == ("problem", "acme forgets", "tell it not to")

    def test_clocks_apart(self, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "acme")
        monkeypatch.setenv("PAIGEANT_ACME_AHEAD", "100")
        severity, message, remedy = finding(cli("doctor", "--json"), "clock skew")
        assert (severity, remedy) == ("warning", "synchronise the clocks of all machines (NTP)")
        assert "100.0 s behind" in message

    def test_the_development_key_is_noted(self, cli: InProcess, tmp_path: Path) -> None:
        done = cli("doctor", "--json", "--transport", "acme")
        assert finding(done, "keys")[0] == "ok"
        severity, message, remedy = finding(done, "key")
        assert (severity, "loopback" in message, "keys init" in remedy) == ("note", True, True)
        assert list((tmp_path / "state").rglob("default.dev.key"))

    def test_off_this_machine_a_key_must_be_configured(self, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_ACME_LOOPBACK", "no")
        done = cli("doctor", "--json", "--transport", "acme")
        severity, message, _ = finding(done, "keys")
        assert (done.code, severity) == (1, "problem")
        assert "paigeant keys init" in message
        monkeypatch.setenv("PAIGEANT_SECURITY", "insecure")
        done = cli("doctor", "--json", "--transport", "acme")
        assert (done.code, finding(done, "keys")[0]) == (0, "warning")

    def test_keys_that_do_not_verify_are_a_problem(self, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_SIGNERS", "acme")
        done = cli("doctor", "--json")
        severity, message, _ = finding(done, "keys")
        assert (done.code, severity) == (1, "problem")
        assert "self-test" in message

    def test_limits(self, cli: InProcess) -> None:
        severity, message, _ = finding(cli("doctor", "--json", "--transport", "acme"), "limits")
        assert (severity, "1000 bytes (by the transport)" in message) == ("note", True)
        assert "retries come at once" in message

    @pytest.mark.parametrize("fault", ["refused", "leaks", "raises", ""])
    def test_no_password_leaves(self, fault: str, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_ACME_FAULT", fault)
        monkeypatch.setenv("PAIGEANT_ACME_PASSWORD", PASSWORD)
        url = f"acme://ann:{PASSWORD}@acme.example:1"
        for option in ("--json", "--transport"):
            done = cli("doctor", "--transport", url, *([option] if option == "--json" else []))
            assert done.code == (1 if fault else 0)
            assert PASSWORD not in done.out + done.err
        monkeypatch.delenv("PAIGEANT_ACME_PASSWORD")
        monkeypatch.setenv("PAIGEANT_TRANSPORT", "acme://ann:p/w@acme.example:1")
        assert "p/w" not in cli("doctor").out

    def test_a_refusal_is_a_problem_with_its_remedy(self, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_ACME_FAULT", "refused")
        monkeypatch.setenv("PAIGEANT_STATE_STORE", "sqlite")
        done = cli("doctor", "--json", "--transport", "acme")
        severity, message, remedy = finding(done, "transport acme")
        assert (done.code, severity, message) == (1, "problem", "acme at None: refused")
        assert remedy.startswith("start acme")
        assert finding(done, "store sqlite")[0] == "ok"  # the rest is still looked at

    def test_an_error_of_a_library_is_a_problem(self, cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_ACME_FAULT", "leaks")
        done = cli("doctor", "--json", "--transport", "acme")
        assert (done.code, "OSError" in finding(done, "transport acme")[1]) == (1, True)

    async def test_what_does_not_answer_is_a_problem(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PAIGEANT_ACME_FAULT", "hangs")
        checkup = Checkup("acme", None, patience=0.05)
        await checkup.run()
        (found,) = [one for one in checkup.findings if one.subject == "transport acme"]
        assert (found.severity, found.message) == (Severity.PROBLEM, "no answer within 0.05 s")


@pytest.mark.parametrize(
    ("skew", "error", "used", "severity"),
    [
        (0.9, 0.0, True, Severity.OK),
        (-0.9, 0.0, True, Severity.OK),
        (3.0, 2.5, True, Severity.OK),  # the question itself took so long
        (3.0, 0.1, True, Severity.NOTE),
        (-40.0, 0.1, True, Severity.WARNING),
        (3.0, 0.1, False, Severity.WARNING),
        (40.0, 0.1, False, Severity.PROBLEM),
    ],
)
def test_what_a_difference_of_clocks_means(skew: float, error: float, used: bool, severity: Severity) -> None:
    found = judge_skew(skew, error, used=used)
    assert found.severity is severity
    assert (found.remedy == "") == (severity is Severity.OK)
