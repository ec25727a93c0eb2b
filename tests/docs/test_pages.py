"""Every page does what it says: its blocks are executed, each page in a directory and process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("page.py")
PAGES = [
    ROOT / "README.md",
    ROOT / "paigeant-core" / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def run(page: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Execute ``page``; whatever it started ends with it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAIGEANT_")}
    bin = Path(sys.executable).parent
    process = subprocess.Popen(
        [sys.executable, str(RUNNER), str(page)],
        cwd=directory,
        env={
            **kept,
            "PATH": f"{bin}{os.pathsep}{kept['PATH']}",
            "HOME": str(directory),
            "NO_COLOR": "1",
            "COLUMNS": "120",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=100)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path) -> None:
    done = run(page, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


GOOD = """
```python
import asyncio
base = 1
```
Text, then a list:

  ```python
  await asyncio.sleep(0)
  assert base == 1
  ```

```python title="app.py"
answer = 42
```
```console
$ python -c "import app; print('answer', \\
  app.answer)"
answer   42
$ sleep 60 &
$ echo one; echo two 17 three
two ... three
```
```text
$ false
```
<!-- not run: needs a server -->
```python
1 / 0
```
"""


def test_blocks_of_a_page_are_one_program(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(GOOD)
    done = run(page, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "bad",
    [
        "```python\n1 / 0\n```",
        "```python\nawait missing()\n```",
        '```python title="app.py"\nimport missing_module\n```',
        "```console\n$ false\n```",
        "```console\n$ echo yes\nno\n```",
        "  ```python\n  1 / 0\n  ```",
    ],
)
def test_a_wrong_page_is_found(bad: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(bad + "\n")
    done = run(page, tmp_path)
    assert done.returncode != 0
    assert "page.md" in done.stderr or "app.py" in done.stderr
