"""The kit itself: rules and tests agree, reports and tables, what needs real time, the plugin suite."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from paigeant.testing import (
    PluginSuite,
    SerializerSuite,
    SignerSuite,
    StateStoreSuite,
    TransportSuite,
    report,
)
from paigeant.testing.kit import Suite, cases, conformance
from paigeant.testing.rules import RULES

from .doubles.real import REAL
from .proxies import ProxyTransport
from .subjects import transport_subject

SUITES: list[type[Suite]] = [TransportSuite, StateStoreSuite, SerializerSuite, SignerSuite, PluginSuite]
REAL_TESTS = {name for name, case in cases(TransportSuite).items() if case.real}


def real_failures(subject: type[Suite], tmp_path: Path) -> set[str]:
    found: set[str] = set()
    for name in sorted(REAL_TESTS):
        try:
            getattr(subject(), name)(tmp_path)
        except pytest.skip.Exception:
            continue
        except AssertionError:
            found.add(name)
    return found


# --- rules


def test_every_rule_of_the_contracts_is_read() -> None:
    sources = Path(report.__file__).parents[1] / "abc"
    written = {rule for path in sources.glob("*.py") for rule in re.findall(r"\*\*([TSCG]\d\d)\*\*", path.read_text())}
    assert written <= set(RULES)
    assert len(written) > 50


def test_every_rule_has_a_test_and_every_test_a_rule() -> None:
    covered = {rule for suite in SUITES for case in cases(suite).values() for rule in case.rules}
    assert covered == set(RULES)


def test_names_carry_rule_ids() -> None:
    for suite in SUITES:
        for name, case in cases(suite).items():
            assert name.startswith(f"test_{case.rules[0]}_"), name


def test_suites_are_plain_methods_that_take_tmp_path() -> None:
    for suite in SUITES:
        for name in cases(suite):
            code = getattr(suite, name).__code__
            assert code.co_varnames[: code.co_argcount] == ("self", "tmp_path"), name


def test_no_pytest_entry_point() -> None:
    from importlib.metadata import distribution

    assert "pytest11" not in distribution("paigeant-core").entry_points.groups


# --- what needs real time


@pytest.mark.parametrize("subject", REAL)
def test_real_double_fails_exactly_what_it_should(subject: type[Suite], tmp_path: Path) -> None:
    assert real_failures(subject, tmp_path) == vars(subject)["fails"]


def test_every_test_in_real_time_can_fail() -> None:
    assert set[str]().union(*(vars(subject)["fails"] for subject in REAL)) == REAL_TESTS


# --- outside


def test_an_author_needs_ten_lines_and_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "from paigeant.builtin.json_codec import JsonCodec\n"
        "from paigeant.testing import SerializerSuite\n"
        "class TestMine(SerializerSuite):\n"
        "    def make(self, tmp_path):\n"
        "        return JsonCodec()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider", "test_mine.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert f"{len(cases(SerializerSuite))} passed" in result.stdout


def test_a_suite_without_make_says_so(tmp_path: Path) -> None:
    class TestNothing(TransportSuite):
        pass

    with pytest.raises(TypeError, match=r"TestNothing must define make"):
        TestNothing().test_T05_one_publish_is_one_message(tmp_path)


def test_make_must_use_the_namespace(tmp_path: Path) -> None:
    class Careless(transport_subject(ProxyTransport)):  # type: ignore[misc]
        def make(self, tmp_path: Path) -> ProxyTransport:
            return ProxyTransport("default")

    with pytest.raises(AssertionError, match=r"(?s)T06.*namespace=self\.namespace"):
        Careless().test_T05_one_publish_is_one_message(tmp_path)


# --- report


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "report.jsonl"
    monkeypatch.setenv(report.VARIABLE, str(path))
    return path


def test_report_tells_what_passed_failed_and_was_skipped(lines: Path, tmp_path: Path) -> None:
    class TestLimited(transport_subject(ProxyTransport)):  # type: ignore[misc]
        def make_unreachable(self, tmp_path: Path) -> ProxyTransport:
            return ProxyTransport(self.namespace)  # it can be reached

    subject = TestLimited()
    subject.test_T05_one_publish_is_one_message(tmp_path)
    with pytest.raises(AssertionError):
        subject.test_T03_an_unreachable_backend_is_a_backend_error(tmp_path)
    with pytest.raises(pytest.skip.Exception):
        subject.test_T15_repeats_within_the_window_are_dropped(tmp_path)
    outcomes = report.read(lines)
    assert [(o.subject, o.suite, o.rules, o.result) for o in outcomes] == [
        ("Limited", "TransportSuite", ("T05",), "passed"),
        ("Limited", "TransportSuite", ("T03",), "failed"),
        ("Limited", "TransportSuite", ("T15",), "skipped"),
    ]
    assert outcomes[1].note.startswith("T03: No error of the client library")
    assert outcomes[2].note == "not declared: dedup_window"
    assert json.loads(lines.read_text().splitlines()[0])["test"] == "test_T05_one_publish_is_one_message"


def test_report_notes_what_holds_though_it_is_not_declared(lines: Path, tmp_path: Path) -> None:
    from paigeant.model.capabilities import Capabilities

    class TestModest(transport_subject(ProxyTransport)):  # type: ignore[misc]
        capabilities = Capabilities(renewable=True)

    with pytest.raises(pytest.skip.Exception):
        TestModest().test_T60_a_stale_settle_changes_nothing(tmp_path)
    [outcome] = report.read(lines)
    assert outcome.note == "not declared: atomic_settle; yet it holds"


def test_table_takes_the_worst_result_of_a_rule() -> None:
    def outcome(subject: str, rule: str, result: report.Result, note: str = "") -> report.Outcome:
        return report.Outcome(subject, "Suite", "test", (rule,), result, note)

    text = report.table(
        [
            outcome("B", "T01", "passed"),
            outcome("B", "T01", "failed"),
            outcome("A", "T01", "skipped"),
            outcome("A", "T02", "skipped", "not declared: x; yet it holds"),
            outcome("A", "T02", "passed"),
        ]
    )
    assert text.splitlines() == [
        "| rule | A | B |",
        "| --- | --- | --- |",
        "| T01 | - | **broken** |",
        "| T02 | yes |  |",
        "",
        "- A: not declared: x; yet it holds (`test`)",
    ]


def test_table_from_the_command_line(lines: Path, tmp_path: Path) -> None:
    report.record(report.Outcome("A", "Suite", "test", ("T01",), "passed"))
    command = [sys.executable, "-m", "paigeant.testing.report", str(lines)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "| rule | A |\n| --- | --- |\n| T01 | yes |\n"


# --- plugins

GOOD = """
from paigeant.builtin.inmemory.transport import InMemoryTransport
from paigeant.plugins import PluginSettings, TransportPlugin, hookimpl

class Settings(PluginSettings):
    pass

def make(settings):
    return InMemoryTransport(namespace=settings.namespace)

@hookimpl
def paigeant_transports():
    yield TransportPlugin("acme", "A transport", Settings, make, schemes=("acme",))
"""

FAULTS = {
    "none": ("", "", set[str]()),
    "imports": ("import json.tool", "", {"test_P02_importing_the_plugin_is_cheap"}),
    "namespace": (
        "",
        "namespace=settings.namespace->namespace='mine'",
        {
            "test_P03_the_factory_honours_the_namespace",
            "test_P03_the_factory_touches_nothing",
            "test_P04_urls_select_it",
        },
    ),
    "io": ("", "    return->    open('made', 'w').close()\n    return", {"test_P03_the_factory_touches_nothing"}),
    "scheme": ("", '("acme",)->("other",)', {"test_P04_urls_select_it"}),
    "summary": ("", "A transport->A\\\\ntransport", {"test_P05_summaries_are_one_line"}),
    "name": (
        "",
        '"acme", "A->"amce", "A',
        {
            "test_P01_the_entry_point_has_the_name",
            "test_P03_the_factory_honours_the_namespace",
            "test_P03_the_factory_touches_nothing",
            "test_P04_urls_select_it",
        },
    ),
}


def install_acme(module: str, source: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = site / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[paigeant]\nacme = {module}\n")
    (site / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))


def plugin_failures(subject: type[PluginSuite], here: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    found: set[str] = set()
    for name in cases(subject):
        (here / name).mkdir(parents=True)
        monkeypatch.chdir(here / name)
        try:
            getattr(subject(), name)(here / name)
        except pytest.skip.Exception:
            continue
        except AssertionError:
            found.add(name)
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_plugin_double_fails_exactly_what_it_should(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, change, fails = FAULTS[fault]
    before, _, after = change.replace("\\\\n", "\\n").partition("->")
    source = first + (GOOD.replace(before, after) if before else GOOD)
    install_acme(f"acme_{fault}", source, tmp_path / "site", monkeypatch)

    class TestAcme(PluginSuite):
        name = "acme"
        kinds = ("transport",)
        urls = ("acme://anything",)
        client_libraries = ("json.tool",)

    assert plugin_failures(TestAcme, tmp_path / "here", monkeypatch) == fails


SMALL = """
from paigeant.plugins import ObserverPlugin, PluginSettings, SerializerPlugin, SignerPlugin, hookimpl

class Made:
    media_type, binary = "application/x-acme", False
    def encode(self, plain): return b""
    def decode(self, data): return None
    async def on_event(self, event): ...

def make(settings):
    return MADE

@hookimpl
def paigeant_KINDs():
    yield DESCRIPTOR("acme", "Acme's own", PluginSettings, make)
"""
MADE = {
    "serializer": ("SerializerPlugin", "Made()"),
    "signer": ("SignerPlugin", "([], [])"),
    "observer": ("ObserverPlugin", "Made()"),
}


@pytest.mark.parametrize("fault", ["none", "async", "io"])
@pytest.mark.parametrize("kind", MADE)
def test_the_factory_of_every_kind_is_called(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor, made = MADE[kind]
    source = SMALL.replace("KIND", kind).replace("DESCRIPTOR", descriptor).replace("MADE", made)
    faults = {
        "none": source,
        "async": source.replace("def make", "async def make"),
        "io": source.replace("    return " + made, "    open('made', 'w').close()\n    return " + made),
    }
    install_acme(f"acme_{kind}_{fault}", faults[fault], tmp_path / "site", monkeypatch)
    subject = type("TestAcme", (PluginSuite,), {"name": "acme", "kinds": (kind,)})
    fails = set[str]() if fault == "none" else {"test_P03_the_factory_touches_nothing"}
    assert plugin_failures(subject, tmp_path / "here", monkeypatch) == fails


# --- what ignores cancellation


class Stubborn(Suite):
    """Its test goes on when cancelled, and its clean-up waits and then fails."""

    patience = 0.01
    limit = 0.01

    @conformance()
    async def test_T01_stubborn(self, prepared: Path) -> None:
        try:
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
        finally:
            with suppress(RuntimeError):  # the loop is gone by now
                await asyncio.sleep(0)
            raise RuntimeError("clean-up")


def test_what_ignores_cancellation_is_told_and_ended_in_its_own_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", later.append)
    with pytest.raises(AssertionError, match="not finished within"):
        Stubborn().test_T01_stubborn(tmp_path)
    gc.collect()
    assert later == []


# --- what a failed test leaves


class Careless(Suite):
    """Its test fails, and leaves a task that fails after it."""

    @conformance()
    async def test_T01_careless(self, prepared: Path) -> None:
        async def fail() -> None:
            raise RuntimeError("nobody asks")

        left = asyncio.create_task(fail())
        await asyncio.wait([left])
        raise AssertionError("told")


def test_what_a_failed_test_left_is_told_in_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AssertionError, match="told"):
        Careless().test_T01_careless(tmp_path)
    gc.collect()
    assert not caplog.records
