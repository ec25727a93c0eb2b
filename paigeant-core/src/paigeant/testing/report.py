"""The report of a conformance run, and the support table made from it.

With ``PAIGEANT_CONFORMANCE_REPORT=path`` every conformance test appends one line of JSON to that file.
``python -m paigeant.testing.report path`` prints the table in Markdown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

VARIABLE = "PAIGEANT_CONFORMANCE_REPORT"
Result: TypeAlias = Literal["passed", "failed", "skipped"]
_WORSE: list[Result] = ["skipped", "passed", "failed"]
_MARKS: dict[Result, str] = {"passed": "yes", "failed": "**broken**", "skipped": "-"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one conformance test of one implementation ended.

    :param subject: the implementation, as the suite names it.
    :param rules: the rule ids that the test covers.
    :param note: why it was skipped, what failed, or what holds although not declared.
    """

    subject: str
    suite: str
    test: str
    rules: tuple[str, ...]
    result: Result
    note: str = ""


def wanted() -> bool:
    """Whether a report is asked for."""
    return bool(os.environ.get(VARIABLE))


def record(outcome: Outcome) -> None:
    """Append ``outcome`` to the report, if one is asked for. Safe with parallel test processes."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    line = json.dumps(asdict(outcome), ensure_ascii=False) + "\n"
    with Path(path).open("ab", buffering=0) as file:  # one write to an appended file does not interleave
        file.write(line.encode())


def read(path: Path) -> list[Outcome]:
    """The outcomes in a report."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_outcome(**json.loads(line)) for line in lines]


def _outcome(rules: list[str], **fields: Any) -> Outcome:
    return Outcome(rules=tuple(rules), **fields)


def table(outcomes: Iterable[Outcome]) -> str:
    """A Markdown table: a row for each rule, a column for each implementation, then the notes."""
    outcomes = list(outcomes)
    subjects = sorted({outcome.subject for outcome in outcomes})
    cells: dict[tuple[str, str], Result] = {}
    for outcome in outcomes:
        for rule in outcome.rules:
            before = cells.get((rule, outcome.subject), outcome.result)
            cells[rule, outcome.subject] = max(before, outcome.result, key=_WORSE.index)
    lines = [_row("rule", subjects), _row("---", ["---"] * len(subjects))]
    for rule in sorted({rule for rule, _ in cells}):
        marks = [_MARKS[cells[rule, s]] if (rule, s) in cells else "" for s in subjects]
        lines.append(_row(rule, marks))
    remarkable = [o for o in outcomes if o.note and (o.result == "passed" or o.note.endswith("yet it holds"))]
    notes = [f"- {o.subject}: {o.note} (`{o.test}`)" for o in remarkable]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def _row(first: str, cells: list[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def main() -> None:
    """Print the table of the report named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m paigeant.testing.report REPORT")
    sys.stdout.write(table(read(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
