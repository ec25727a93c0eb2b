"""Executes one documentation page, in the current directory. Usage: page.py PAGE.md

* A ``python`` block runs; the blocks of a page are one program, top to bottom; ``await`` is allowed outside functions.
* A block with ``title="app.py"`` is written to that file instead; a Python file is imported at once.
* A ``console`` block runs its ``$ `` lines with bash; each must succeed (in the background, if it ends in ``&``) and
  print the lines shown below it, ``...`` standing for any text.
* Other languages are not run, nor is a block under the comment ``<!-- not run: why -->``.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>\w[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
SKIPPED = re.compile(r"<!-- not run: .+ -->\s*\Z")
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    body: str
    line: int
    skipped: bool


def blocks(text: str) -> Iterator[Block]:
    for match in FENCE.finditer(text):
        info, before = match["info"], text[: match.start()]
        title = TITLE.search(info)
        yield Block(
            language=info.split()[0],
            title=title[1] if title else "",
            body=textwrap.dedent(match["body"]),
            line=before.count("\n") + 2,
            skipped=SKIPPED.search(before) is not None,
        )


class Page:
    """One page's program: its namespace, its event loop and its background commands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.background: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                for block in blocks(self.path.read_text()):
                    if not block.skipped:
                        self.block(block, runner)
        finally:
            self.stop()

    def block(self, block: Block, runner: asyncio.Runner) -> None:
        if block.title:
            self.file(block)
        elif block.language == "python":
            self.python(block, runner)
        elif block.language == "console":
            self.console(block)

    def file(self, block: Block) -> None:
        target = Path(block.title)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.body)
        if target.suffix == ".py" and target.parent == Path():
            importlib.invalidate_caches()
            importlib.import_module(target.stem)

    def python(self, block: Block, runner: asyncio.Runner) -> None:
        source = "\n" * (block.line - 1) + block.body
        code = compile(source, str(self.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, self.namespace))
        else:
            exec(code, self.namespace)

    def console(self, block: Block) -> None:
        for command, shown in commands(block.body):
            where = f"{self.path}:{block.line}: $ {command}"
            if command.endswith("&"):
                started = subprocess.Popen(["bash", "-c", f"exec env {command[:-1]}"])
                self.background.append(started)
                continue
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{where}\nexited {done.returncode}\n{done.stdout}{done.stderr}"
            missing = [line for line in shown if not printed(line, done.stdout + done.stderr)]
            assert not missing, f"{where}\ndid not print {missing}, but\n{done.stdout}{done.stderr}"

    def stop(self) -> None:
        for process in self.background:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def commands(body: str) -> Iterator[tuple[str, list[str]]]:
    """Each command with the lines shown below it."""
    for chunk in re.split(r"^\$ ", body.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        command, *shown = chunk.rstrip().split("\n")
        yield command.strip(), [line for line in shown if line.strip() not in ("", "...")]


def printed(line: str, output: str) -> bool:
    """Whether one line of ``output`` is ``line``, spaces counted once and ``...`` standing for any text."""
    words = [r"\s+".join(map(re.escape, part.split())) for part in line.split("...")]
    return (
        re.search(r"^\s*" + r".*".join(words).replace(r".*", r"\s*.*\s*") + r"\s*$", output, re.MULTILINE) is not None
    )


if __name__ == "__main__":
    sys.path.insert(0, "")
    Page(Path(sys.argv[1])).run()
