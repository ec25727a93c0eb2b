"""The distributions: one version, ranges as third parties are told to write them, one licence."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import paigeant

ROOT = Path(__file__).parents[2]
META = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS = {
    name: tomllib.loads((ROOT / name / "pyproject.toml").read_text())
    for name in META["tool"]["uv"]["workspace"]["members"]
}
EVERY = {"paigeant": META, **MEMBERS}


def requirements(project: dict[str, Any]) -> list[str]:
    extras = project.get("optional-dependencies", {}).values()
    return [*project.get("dependencies", []), *(line for extra in extras for line in extra)]


def test_versions_are_in_lockstep_and_final() -> None:
    versions = {name: toml["project"]["version"] for name, toml in EVERY.items()}
    assert {*versions.values(), paigeant.__version__} == {versions["paigeant"]}, versions
    assert re.fullmatch(r"\d+\.\d+\.\d+", versions["paigeant"]), "no pre-release versions"


def test_changelog_names_the_version() -> None:
    assert f"## {META['project']['version']}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", EVERY)
def test_siblings_are_required_within_one_minor_version(name: str) -> None:
    major, minor, _ = META["project"]["version"].split(".")
    wanted = f">={major}.{minor},<{major}.{int(minor) + 1}"
    siblings = [line for line in requirements(EVERY[name]["project"]) if line.startswith("paigeant")]
    assert [line for line in siblings if not line.endswith(wanted)] == []


@pytest.mark.parametrize("name", EVERY)
def test_each_member_is_named_as_its_folder_and_carries_the_licence(name: str) -> None:
    project, folder = EVERY[name]["project"], ROOT / ("" if name == "paigeant" else name)
    assert project["name"] == name
    assert project["license"] == "MIT"
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_core_needs_three_packages_only() -> None:
    names = [re.split(r"[><=\[]", line)[0] for line in MEMBERS["paigeant-core"]["project"]["dependencies"]]
    assert names == ["msgspec", "pluggy", "pydantic", "pydantic-settings"]


def test_lock_names_only_the_public_index() -> None:
    lock = (ROOT / "uv.lock").read_text()
    assert set(re.findall(r'registry = "([^"]*)"', lock)) == {"https://pypi.org/simple"}
    assert set(re.findall(r'url = "(\w+://[^/"]*)', lock)) == {"https://files.pythonhosted.org"}
