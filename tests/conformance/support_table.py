"""Writes the table of the built-ins into ``docs/plugins/conformance.md``. Run it after a change of abilities."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from paigeant.testing import report

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plugins" / "conformance.md"
MARK = "<!-- table: made by tests/conformance/support_table.py -->"


def measure(path: Path) -> str:
    """Run the suites for transports and stores and return their table."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance/test_builtin.py"]
    environment = {**os.environ, report.VARIABLE: str(path)}
    subprocess.run([*command, "-k", "Transport or Store"], cwd=ROOT, env=environment, check=True)
    return report.table(report.read(path))


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        table = measure(Path(directory) / "report.jsonl")
    before, after = PAGE.read_text(encoding="utf-8").split(MARK)
    after = re.sub(r"\A\n+(\|[^\n]*\n)*\n*(- [^\n]*\n)*\n*", "", after)
    PAGE.write_text(f"{before}{MARK}\n\n{table}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
