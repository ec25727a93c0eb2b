"""What must not be in the tree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|NotImplementedError|#.*\bfor now\b")
HOMES = re.compile(r"(?<![\w.:/])/(?:root|home/\w+|Users/\w+|work(?:space)?)/\S")
UNSAFE = re.compile(r"\b(?:import|from) (?:pickle|marshal|shelve|dill|cloudpickle)\b|\b(?:eval|exec)\(")
LONGEST_FILE = 400
TEXT = {".py", ".md", ".toml", ".yml", ".sh", ".json", ".svg", ""}


def tree() -> list[Path]:
    """Every text file that git tracks, or that it would track."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    lines = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    files = [ROOT / line for line in lines.splitlines()]
    return [path for path in files if path.suffix in TEXT and path.is_file() and path != Path(__file__)]


def hits(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    numbered = ((path, number, line) for path in files for number, line in enumerate(path.read_text().splitlines(), 1))
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for path, number, line in numbered if pattern.search(line)
    ]


def test_nothing_is_unfinished() -> None:
    assert hits(UNFINISHED, tree()) == []


def test_no_path_of_somebodys_machine() -> None:
    assert hits(HOMES, tree()) == []
    assert hits(re.compile(re.escape(str(ROOT)) + r"\b"), tree()) == []


def test_no_value_is_unpickled() -> None:
    """But by the conformance kit, which offers pickles to serializers that must refuse them."""
    source = ROOT / "paigeant-core" / "src" / "paigeant"
    sources = [path for path in tree() if source in path.parents and source / "testing" not in path.parents]
    assert hits(UNSAFE, sources) == []


def test_files_of_the_package_stay_small_enough_to_read() -> None:
    package = ROOT / "paigeant-core"
    lengths = {
        path: len(path.read_text().splitlines()) for path in tree() if path.suffix == ".py" and package in path.parents
    }
    assert lengths
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (UNFINISHED, "# TODO later"),
        (UNSAFE, "import pickle"),
        (UNFINISHED, "x = 1  # good enough for now"),
        (HOMES, "see /home/ann/x"),
        (HOMES, "/root/.cache/x"),
    ],
)
def test_the_patterns_find_what_they_look_for(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)
