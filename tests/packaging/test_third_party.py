"""The example distributions of third parties: built, installed beside the core alone, proven there, and at work."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_wheels import ROOT, UV, Environment, run

EXAMPLES = ROOT / "docs" / "examples"
NAMES = ["paigeant-maildir", "paigeant-vault-example"]
TOKEN = "s.packaging"
PLAY = """
import asyncio, sys
sys.path.insert(0, {onboarding!r})
import demo
from rich.console import Console
sys.exit(0 if asyncio.run(demo.play(Console())) else 1)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("wheels")]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, away from the clone: nothing of its workspace may help to build or test them."""
    path = tmp_path_factory.mktemp("third")
    for name in NAMES:
        shutil.copytree(EXAMPLES / name, path / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    return path


@pytest.fixture(scope="module")
def installed(projects: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Core and both examples as wheels, with the extras for commands and tests; no broker's client."""
    dist, path = projects / "dist", tmp_path_factory.mktemp("env") / "venv"
    run(UV, "build", "--package", "paigeant-core", "--wheel", "--no-sources", "--quiet", "--out-dir", dist, cwd=ROOT)
    for name in NAMES:
        run(UV, "build", "--wheel", "--quiet", "--out-dir", dist, cwd=projects / name)
    run(UV, "venv", "--quiet", "--python", sys.executable, path, cwd=path.parent)
    (core,) = dist.glob("paigeant_core-*.whl")
    others = [wheel for wheel in dist.glob("*.whl") if wheel != core]
    assert len(others) == len(NAMES)
    run(UV, "pip", "install", "--quiet", f"{core}[cli,testing]", *others, cwd=path.parent, VIRTUAL_ENV=str(path))
    return Environment(path)


@pytest.fixture(scope="module")
def vault(projects: Path) -> Iterator[str]:
    """The URL of a running vault."""
    service = projects / "paigeant-vault-example" / "vault_service.py"
    with subprocess.Popen(
        [sys.executable, str(service), TOKEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(timeout=10)


def test_they_are_discovered(installed: Environment) -> None:
    rows = json.loads(installed.bin("paigeant", "plugins", "--json").stdout)
    found = {(row["kind"], row["name"], row["distribution"], row["status"]) for row in rows}
    assert ("transport", "maildir", "paigeant-maildir", "available") in found
    assert ("signer", "vault", "paigeant-vault-example", "available") in found
    assert not {"redis", "nats-py", "aio-pika"} & set(installed.installed())


@pytest.mark.parametrize("name", NAMES)
def test_they_pass_the_kit_where_they_are_installed(name: str, installed: Environment, projects: Path) -> None:
    python = installed.path / "bin" / "python"
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=projects / name)
    assert " passed" in done.stdout


def test_the_onboarding_demo_runs_on_both(installed: Environment, vault: str, tmp_path: Path) -> None:
    settings = {
        "PAIGEANT_TRANSPORT": "maildir",
        "PAIGEANT_MAILDIR_PATH": str(tmp_path / "mail"),
        "PAIGEANT_STATE_STORE": "sqlite",
        "PAIGEANT_SQLITE_PATH": str(tmp_path / "state.db"),
        "PAIGEANT_SIGNERS": "vault",
        "PAIGEANT_VAULT_URL": vault,
        "PAIGEANT_VAULT_TOKEN": TOKEN,
        "PAIGEANT_LEASE": "3",  # the demo kills a worker, and a maildir notices that by its lease
    }
    well = run(installed.path / "bin" / "paigeant", "doctor", "--json", cwd=tmp_path, **settings)
    told = json.loads(well.stdout)
    assert (told["ok"], told["transport"], told["store"], told["mode"]) == (True, "maildir", "sqlite", "separate")
    assert any("vault:records (HS256)" in one["message"] for one in told["findings"] if one["subject"] == "keys")
    play = PLAY.format(onboarding=str(EXAMPLES / "onboarding"))
    done = run(installed.path / "bin" / "python", "-c", play, cwd=tmp_path, **settings, COLUMNS="120")
    for line in ("killed with SIGKILL", "workflow completed", "no step completed twice"):
        assert line in done.stdout
    assert list((tmp_path / "mail" / "default").glob("q-*"))
    assert not list(tmp_path.rglob("*.key")), "the core made a key of its own, so the vault did not sign"


def test_without_its_vault_nothing_is_dispatched(installed: Environment, tmp_path: Path) -> None:
    settings = {"PAIGEANT_SIGNERS": "vault", "PAIGEANT_VAULT_URL": "http://127.0.0.1:1", "PAIGEANT_VAULT_TOKEN": TOKEN}
    paths = {"PAIGEANT_TRANSPORT": "maildir", "PAIGEANT_MAILDIR_PATH": str(tmp_path / "mail")}
    paigeant = installed.path / "bin" / "paigeant"
    done = run(paigeant, "dispatch", "greet", cwd=tmp_path, code=2, **settings, **paths)
    assert "127.0.0.1:1" in done.stderr
    assert not list((tmp_path / "mail" / "default").glob("q-*/m-*"))


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    text = path.read_text(encoding="utf-8")
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {n for token in tokens if token.type not in ignored for n in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


def test_a_whole_transport_takes_under_150_lines_of_code() -> None:
    sources = (EXAMPLES / "paigeant-maildir" / "src").rglob("*.py")
    assert 100 < sum(map(code_lines, sources)) < 150


def test_the_examples_hold_what_a_distribution_needs() -> None:
    for name in NAMES:
        there = {str(path.relative_to(EXAMPLES / name)) for path in (EXAMPLES / name).rglob("*") if path.is_file()}
        assert {"pyproject.toml", "README.md"} <= there
        assert any(part.startswith("tests" + os.sep) for part in there)
