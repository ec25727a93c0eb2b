"""The site: every page can be reached, every error is explained, the guarantees are word for word."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from paigeant import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ERRORS = [
    name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.PaigeantError)
]
GUARANTEE = (
    "tate changes and forwards take effect once; activity bodies run at least once; external effects happen once only "
    "where the receiver honours the idempotency key."
)


def words(path: Path) -> str:
    return re.sub(r"[\s>]+", " ", path.read_text())


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"[\w/-]+\.md\b", (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1])
    found = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if not re.match(r"0\d+-", page.name)}
    pages = {page for page in found if not page.startswith("examples/")}  # those belong to the distributions there
    assert sorted(listed) == sorted(pages)


def test_every_decision_is_in_the_list() -> None:
    listed = re.findall(r"\((\d+-[\w-]+\.md)\)", (DOCS / "decisions" / "index.md").read_text())
    assert listed == sorted(page.name for page in (DOCS / "decisions").glob("0*.md"))


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_explained(name: str) -> None:
    assert f"| `{name}` |" in (DOCS / "reference" / "errors.md").read_text()


def test_no_error_is_explained_that_does_not_exist() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", (DOCS / "reference" / "errors.md").read_text(), re.MULTILINE)) == set(
        ERRORS
    )


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "guarantees.md"], ids=lambda page: page.name)
def test_the_guarantee_is_word_for_word(page: Path) -> None:
    assert GUARANTEE in words(page)
