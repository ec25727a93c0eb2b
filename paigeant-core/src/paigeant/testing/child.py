"""A second process on the backend under test, made to be killed.

It loads the author's suite from its file and makes an instance in the same place and namespace.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import select
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from .kit import Suite

_STARTING: Final = 60.0
"""Seconds for Python to start and load the suite: on a busy machine longer than any backend may take."""


class Child:
    """Runs one ``task`` of this module in a process of its own: ``publish`` or ``hold``."""

    def __init__(self, suite: Suite, tmp_path: Path, task: str, lease: str) -> None:
        cls = type(suite)
        arguments = [inspect.getfile(cls), cls.__qualname__, str(tmp_path), suite.namespace, task, lease]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "paigeant.testing.child", *arguments], stdout=subprocess.PIPE, bufsize=0
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def line(self, patience: float) -> str:
        """What it says within ``patience`` seconds of its start; empty if it failed or says nothing."""
        return self._read(patience) if self._read(_STARTING) == "started" else ""

    def _read(self, seconds: float) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline().decode().strip() if ready else ""

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()


def _load(file: str) -> ModuleType:
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location("paigeant_conformance_subject", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {file!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def _perform(suite: Suite, tmp_path: Path, task: str, lease: float) -> None:
    from .transport.rig import TransportCases, publication

    assert isinstance(suite, TransportCases), "only transports are tested with a second process"
    async with suite.make(tmp_path) as transport:
        if task == "publish":
            await transport.publish(*(publication(n) for n in range(5)))
            _say("published")
            await asyncio.Event().wait()  # until killed
        async with transport.consume(["work"], lease=lease) as consumer:
            held = 0
            while held < 5:
                held += len(await consumer.receive(5))
            _say("holds")
            await asyncio.Event().wait()


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run what the command line says."""
    file, name, tmp_path, namespace, task, lease = sys.argv[1:]
    suite = getattr(_load(file), name)()
    suite.namespace = namespace
    _say("started")
    asyncio.run(_perform(suite, Path(tmp_path), task, float(lease)))


if __name__ == "__main__":
    main()
