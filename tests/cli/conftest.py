"""The command line as users run it: processes, an app of their own, a file of their own."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paigeant.__main__ import main

APP = '''
import asyncio, os, time
from pathlib import Path
from paigeant import PermanentFault, RetryPolicy, TransientFault, activity

@activity("validate-input")
async def validate_input(email: str) -> dict:
    return {"email": email.lower(), "tags": ["new", "shiny"]}

@activity("notify")
async def notify(email: str, tag: str = "", retries: int = 0) -> str:
    return f"sent to {email} {tag} {retries}".strip()

@activity("fail")
async def fail() -> str:
    raise PermanentFault("no \\x1b[31mway")

@activity("hold")
async def hold(gate: str) -> str:
    """Begins, says so, and goes on when its gate opens."""
    Path(gate + ".began").touch()
    while not Path(gate).exists():
        await asyncio.sleep(0.02)
    return "held"

@activity("block")
def block(gate: str) -> str:
    Path(gate + ".began").touch()
    while not Path(gate).exists():
        time.sleep(0.02)
    return "blocked"

@activity("spin")
async def spin(gate: str) -> str:
    Path(gate + ".began").touch()
    while not Path(gate).exists():
        pass
    return "spun"

@activity("chatty")
async def chatty() -> str:
    print("not JSON")
    return "said"
'''


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Commands:
    """Runs ``paigeant`` in ``directory`` on SQLite."""

    directory: Path
    env: dict[str, str]
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "paigeant", *arguments],
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.workers.append(process)
        return process

    def __call__(self, *arguments: str, **env: str) -> Result:
        return finish(self.start(*arguments, **env))


def finish(process: subprocess.Popen[str]) -> Result:
    out, err = process.communicate(timeout=60)
    return Result(process.returncode, out, err)


@pytest.fixture
def paigeant(tmp_path: Path) -> Iterator[Commands]:
    """A directory with ``app.py``; whatever is started there ends with the test."""
    (tmp_path / "app.py").write_text(APP)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAIGEANT_", "COVERAGE"))}
    commands = Commands(tmp_path, {**kept, "PAIGEANT_TRANSPORT": "sqlite", "HOME": str(tmp_path), "NO_COLOR": "1"})
    yield commands
    for process in commands.workers:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)


@dataclass
class InProcess:
    """Runs ``paigeant`` in this process: quick, for commands that do not stay."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Result:
        self.capsys.readouterr()
        code = main(arguments)
        out, err = self.capsys.readouterr()
        return Result(code, out, err)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    monkeypatch.setenv("PAIGEANT_TRANSPORT", "sqlite")
    monkeypatch.setenv("NO_COLOR", "1")
    root = logging.getLogger()
    handlers, level, showwarning = list(root.handlers), root.level, warnings.showwarning
    yield InProcess(capsys)
    logging.captureWarnings(capture=False)  # what the command configured for its process
    warnings.showwarning = showwarning
    root.handlers[:] = handlers
    root.setLevel(level)
