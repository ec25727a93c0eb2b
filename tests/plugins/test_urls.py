"""URLs that name several hosts."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paigeant.plugins import split_url


@pytest.mark.parametrize(
    "authority", ["a,b:1,c", "[::1]", "a:1,[::1]:2", "[::1],[::2]:3", "u:p@a,[::1]", "u:p%5D@[::1]:2,b", "", "[,]"]
)
@pytest.mark.parametrize("rest", ["", "/", "/0", "/team%2Fx", "?db=3", "/a?b=c#d", "#x"])
def test_the_authority_is_taken_as_it_is_written(authority: str, rest: str) -> None:
    """Every version of Python can do it, though ``urlsplit`` of some cannot."""
    found, plain = split_url(f"Redis://{authority}{rest}"), urlsplit(f"redis://host{rest}")
    assert found == plain._replace(netloc=authority)


@given(st.text())
def test_any_text_has_parts_that_make_it_up_again(text: str) -> None:
    found = split_url(text)
    for part in found:
        assert part.lower() in text.lower().replace("\t", "").replace("\r", "").replace("\n", "")


def test_what_is_around_it_is_no_part() -> None:
    assert split_url(" redis://h:1/0\r\n") == urlsplit("redis://h:1/0")
