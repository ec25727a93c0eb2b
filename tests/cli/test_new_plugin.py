"""``paigeant new-plugin``: what it generates works at once, from the wheel as shipped; what it must refuse."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paigeant.cli.new_plugin import Kind, render, substitutions

from ..packaging.test_wheels import ROOT, UV, Environment, run
from .conftest import InProcess

EXAMPLE = ROOT / "docs" / "examples" / "paigeant-maildir"


@pytest.mark.parametrize("kind", list(Kind))
def test_all_files_of_a_distribution(kind: Kind, cli: InProcess, tmp_path: Path) -> None:
    done = cli("new-plugin", kind, "acme-thing")
    assert done.code == 0
    target = tmp_path / "paigeant-acme-thing"
    assert done.out.splitlines() == [f"cd {target}", "pip install -e '.[test]'", "pytest"]
    assert "acme-thing" in done.err.splitlines()[-1]
    texts = {path: (target / path).read_text() for path in ("pyproject.toml", "README.md", "tests/test_acme_thing.py")}
    assert 'acme-thing = "paigeant_acme_thing.plugin"' in texts["pyproject.toml"]
    assert "PAIGEANT_ACME_THING_" in texts["README.md"]
    assert "${" not in "".join(path.read_text() for path in target.rglob("*") if path.is_file())
    for path in target.rglob("*.py"):
        compile(path.read_text(), str(path), "exec")


def test_as_json_in_another_directory(cli: InProcess, tmp_path: Path) -> None:
    done = cli("new-plugin", "store", "paigeant-acme", "--directory", "deep/inside", "--json")
    told = done.json
    assert (done.code, told["name"], told["path"]) == (0, "acme", str(tmp_path / "deep" / "inside"))
    assert sorted(told["files"]) == sorted(
        str(path.relative_to(told["path"])) for path in Path(told["path"]).rglob("*") if path.is_file()
    )


MALFORMED = [
    "",
    "Acme",
    "1acme",
    "acme_queue",
    "acme.queue",
    "acme/queue",
    "../acme",
    "-acme",
    "acme-",
    "a--b",
    "class",
    "true",
    "test",
    "testing-it",
]
MALFORMED += ["ü", "x" * 41, "paigeant-", "acme$name", "acme\n"]
TAKEN = ["sqlite", "json", "core", "redis", "paigeant-core", "none", "state"]


@pytest.mark.parametrize("name", [*MALFORMED, *TAKEN])
def test_names_that_cannot_be(name: str, cli: InProcess, tmp_path: Path) -> None:
    done = cli("new-plugin", "transport", "--", name)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def names_of(kind: Kind) -> Iterator[str]:
    """Every plugin name that might make a class of a name which the generated files hold already."""
    for path, text in render(kind, substitutions(kind, "acme")).items():
        for bound in bindings(text) if path.endswith(".py") else ():
            words = [word.lower() for word in re.findall("[A-Z][a-z0-9]*", bound)]
            yield from ("-".join(words[:length]) for length in range(1, len(words) + 1))


def bindings(text: str) -> list[str]:
    """What a module imports and defines, anywhere in it."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ClassDef):
            found.append(node.name)
    return found


@pytest.mark.parametrize("kind", list(Kind))
def test_no_name_makes_a_class_that_is_there_already(kind: Kind, cli: InProcess, tmp_path: Path) -> None:
    names = {*names_of(kind), "plugin-suite", "entry", "plugin", "transport", "store", "key", "codec", "write"}
    for name in sorted(names):
        target = tmp_path / name
        if cli("new-plugin", kind, name, "--directory", str(target)).code:
            continue  # refused
        for path in target.rglob("*.py"):
            bound = bindings(path.read_text())
            assert len(bound) == len(set(bound)), (name, path.name, bound)
            collected = [one for one in bound if one.startswith("Test") and "tests" not in path.parts]
            assert not collected, (name, path.name)


def test_nothing_is_written_over(cli: InProcess, tmp_path: Path) -> None:
    (tmp_path / "paigeant-acme").mkdir()
    done = cli("new-plugin", "signer", "acme")
    assert (done.code, "exists already" in done.err) == (2, True)
    assert list((tmp_path / "paigeant-acme").iterdir()) == []
    (tmp_path / "file").touch()
    assert cli("new-plugin", "signer", "acme", "--directory", "file/inside").code == 2
    assert cli("new-plugin", "observer", "acme").code == 2


def test_the_generated_transport_is_the_example() -> None:
    """One text for both: the example is tested and read, the template is what people get."""
    made = render(Kind.TRANSPORT, substitutions(Kind.TRANSPORT, "maildir"))
    for path in ("src/paigeant_maildir/transport.py", "src/paigeant_maildir/plugin.py", "tests/test_maildir.py"):
        assert made[path] == (EXAMPLE / path).read_text(), path


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The core's wheel with its extras for commands and tests, in an environment of its own."""
    dist, path = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("env") / "venv"
    run(UV, "build", "--package", "paigeant-core", "--wheel", "--no-sources", "--quiet", "--out-dir", dist, cwd=ROOT)
    (wheel,) = dist.glob("*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, path, cwd=dist)
    run(UV, "pip", "install", "--quiet", f"{wheel}[cli,testing]", cwd=dist, VIRTUAL_ENV=str(path))
    return Environment(path)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("wheels")
@pytest.mark.parametrize("kind", list(Kind))
def test_its_tests_pass_at_once(kind: Kind, core: Environment, tmp_path: Path) -> None:
    name = f"acme-{kind}"
    run(core.path / "bin" / "paigeant", "new-plugin", kind, name, cwd=tmp_path)
    project = tmp_path / f"paigeant-{name}"
    run(UV, "build", "--wheel", "--quiet", "--out-dir", tmp_path, cwd=project)
    (wheel,) = tmp_path.glob("*.whl")
    run(UV, "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path, VIRTUAL_ENV=str(core.path))
    done = run(core.path / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert " passed" in done.stdout
    assert " failed" not in done.stdout
