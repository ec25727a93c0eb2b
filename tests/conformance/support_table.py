"""Writes the tables of what is shipped here into ``docs/plugins/conformance.md``. Run it when abilities change."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from paigeant.testing import report

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plugins" / "conformance.md"
MARK = "<!-- tables: made by tests/conformance/support_table.py -->"
END = "<!-- end of tables -->"
SUITES = ["tests/conformance/test_builtin.py", *sorted(map(str, Path("tests/brokers").glob("test_*_conformance.py")))]


def measure(path: Path) -> str:
    """Run the suites for transports and stores, the brokers' on real ones, and return their tables."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *SUITES]
    environment = {**os.environ, report.VARIABLE: str(path)}
    subprocess.run([*command, "-k", "Transport or Store"], cwd=ROOT, env=environment, check=True)
    outcomes = report.read(path)
    kinds = {kind: [one for one in outcomes if one.subject.endswith(kind)] for kind in ("Transport", "Store")}
    return "\n".join(f"**{kind}s**\n\n{report.table(found)}" for kind, found in kinds.items())


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        table = measure(Path(directory) / "report.jsonl")
    before, after = PAGE.read_text(encoding="utf-8").split(MARK)
    after = after.partition(END)[2]
    PAGE.write_text(f"{before}{MARK}\n\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
