"""``paigeant doctor``: what is wrong here, and how to mend it."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Final

import typer

from ..model.finding import Finding, Severity
from .backend import run
from .checkup import Checkup
from .options import Json, Namespace, TransportName
from .output import show_json, show_table

_STYLES: Final = {Severity.OK: "green", Severity.NOTE: "", Severity.WARNING: "yellow", Severity.PROBLEM: "bold red"}
_LEAST = 4
"""Characters of a password that is looked for in any text; in a URL it is found by its place, however short."""
_USER = re.compile(r"://[^\s'\"]*@")
_PASSWORD = re.compile(r"://[^:@/\s]*:(?P<password>.+)@")


def doctor(transport: TransportName = None, namespace: Namespace = None, as_json: Json = False) -> None:
    """Check transport, store, clock, keys and limits; exit with 1 if something does not work.

    Opens what a worker opens: a data file or key of this machine that is made on first use is made here, too.
    """
    checkup = Checkup(transport, namespace)
    run(checkup.run())
    hide = _Hiding(transport)
    found = [hide.of(one) for one in checkup.findings]
    sick = any(one.severity is Severity.PROBLEM for one in found)
    if as_json:
        facts = {name: hide(value) if isinstance(value, str) else value for name, value in checkup.facts.items()}
        show_json({"ok": not sick, **facts, "findings": [dataclasses.asdict(one) for one in found]})
    else:
        rows = [(one.severity, one.subject, one.message, one.remedy) for one in found]
        show_table(("severity", "subject", "found", "remedy"), rows, [_STYLES[one.severity] for one in found])
    raise typer.Exit(1 if sick else 0)


class _Hiding:
    """The last look at what plugins say: no password that is configured here leaves in it."""

    def __init__(self, *references: str | None) -> None:
        values = [*os.environ.values(), *(one for one in references if one)]
        passwords = {match["password"] for value in values if (match := _PASSWORD.search(value))}
        named = {value for name, value in os.environ.items() if _secret(name)}
        self._secrets = sorted((one for one in passwords | named if len(one) >= _LEAST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        from ..runtime.redaction import redact

        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return redact(_USER.sub("://[redacted]@", text))

    def of(self, finding: Finding) -> Finding:
        """``finding`` without passwords."""
        return Finding(finding.severity, self(finding.subject), self(finding.message), self(finding.remedy))


def _secret(variable: str) -> bool:
    return variable.startswith("PAIGEANT_") and variable.endswith(("PASSWORD", "TOKEN", "SECRET"))
