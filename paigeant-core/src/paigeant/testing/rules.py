"""The rules of the contracts, read from their docstrings, and how a broken one is told."""

from __future__ import annotations

import re
from types import TracebackType
from typing import NoReturn

from ..abc import security, serializer, store, transport

_RULE = re.compile(
    r"\*\*(?P<id>[TSCGP]\d\d)\*\*\s+(?P<text>.*?)(?=\*\*[TSCGP]\d\d\*\*|\n\s*\n|\n\s*:raises|\Z)", re.DOTALL
)


def _docstrings() -> list[str]:
    owners: list[object] = [
        transport.Transport,
        transport.Consumer,
        transport.Delivery,
        store.StateStore,
        serializer.Serializer,
        security.Signer,
        security.Verifier,
    ]
    members = [member for owner in owners for member in vars(owner).values()]
    return [text for item in [*owners, *members] if isinstance(text := getattr(item, "__doc__", None), str)]


def read_rules(text: str) -> dict[str, str]:
    """The rules in a docstring: ``**T64** Never earlier ...``."""
    return {m["id"]: " ".join(m["text"].split()).rstrip("* ") for m in _RULE.finditer(text)}


RULES: dict[str, str] = {rule: text for doc in _docstrings() for rule, text in read_rules(doc).items()}
"""Each rule id of the contracts with its text."""


def check(ok: object, rule: str, observed: str, way_out: str) -> None:
    """Fail unless ``ok``, saying which rule is broken, what was seen and the legitimate way out."""
    __tracebackhide__ = True
    if not ok:
        fail(rule, observed, way_out)


def fail(rule: str, observed: str, way_out: str) -> NoReturn:
    """Say that ``rule`` is broken."""
    __tracebackhide__ = True
    raise AssertionError(f"{rule}: {RULES.get(rule, '')}\n  observed: {observed}\n  way out:  {way_out}")


class Refusal:
    """Context manager: the body must raise ``error``, or one of several.

    :param what: what the body does, for the message.
    """

    def __init__(
        self, error: type[Exception] | tuple[type[Exception], ...], rule: str, what: str, way_out: str
    ) -> None:
        self._errors = error if isinstance(error, tuple) else (error,)
        self._rule, self._what, self._way_out = rule, what, way_out

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> bool:
        __tracebackhide__ = True
        if isinstance(exc, self._errors):
            return True
        if exc is not None and not isinstance(exc, Exception):
            return False
        seen = "nothing was raised" if exc is None else f"raised {exc!r}"
        wanted = " or ".join(error.__name__ for error in self._errors)
        try:
            fail(self._rule, f"{self._what}: {seen}, not {wanted}", self._way_out)
        except AssertionError as failure:
            raise failure from exc


refuses = Refusal
