"""What ``paigeant worker`` refuses to serve, and how it says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import InProcess

FILES = {
    "empty_app.py": "x = 1\n",
    "only_worker.py": "from paigeant import *\n"
    "@activity('a')\nasync def _a() -> None: ...\n_acts = [_a]\ndel _a\n"
    "worker = Worker(get_transport(), _acts)\n",
    "raising_app.py": "def helper():\n    raise RuntimeError('database is gone')\nhelper()\n",
    "importing_app.py": "import no_such_library\n",
    "leaving_app.py": "import sys\nsys.exit(3)\n",
    "wrong_app.py": "def (:\n",
    "odd_app.py": "value = 3\nasync def amake(): ...\n"
    "def fails():\n    raise RuntimeError('no')\ndef nothing():\n    return []\n",
    "span_app.py": """
from contextlib import asynccontextmanager
from paigeant import Worker, activity, get_transport

@activity("a")
async def a() -> None: ...

def pool():
    raise OSError("no database")

@asynccontextmanager
async def lifespan(worker):
    pool()
    yield

async def coroutine(worker): ...
async def undecorated(worker):
    yield

@asynccontextmanager
async def twice(worker):
    yield
    yield

raises, no_manager, generator, no_function, unready = (
    Worker(get_transport(), [a], lifespan=one) for one in (lifespan, coroutine, undecorated, 3, lifespan(None))
)
""",
    "twice_app.py": "from paigeant import activity\n"
    "@activity('a')\nasync def one() -> None: ...\n@activity('a')\nasync def two() -> None: ...\n",
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0].endswith("_app") or name == "only_worker":
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("missing_app", ["no module 'missing_app'", "path/app.py"]),
        ("missing_app.tasks", ["no module 'missing_app.tasks'"]),
        ("empty_app.tasks", ["no module 'empty_app.tasks'"]),
        ("missing/app.py", ["no file 'missing/app.py'"]),
        (".app", [".app"]),
        ("app:", ["expected module, module:name"]),
        (":app", ["expected module, module:name"]),
        ("empty_app", ["nothing to serve", "@activity"]),
        ("only_worker", ["use only_worker:worker"]),
        ("raising_app", ["RuntimeError: database is gone", "raising_app.py", "line 2, in helper"]),
        ("raising_app.py", ["RuntimeError: database is gone", "line 2, in helper"]),
        ("importing_app", ["No module named 'no_such_library'", "importing 'importing_app' raised"]),
        ("leaving_app", ["SystemExit"]),
        ("wrong_app", ["SyntaxError"]),
        ("odd_app:missing", ["has no 'missing'", "value"]),
        ("odd_app:value", ["is a int"]),
        ("odd_app:amake", ["async function"]),
        ("odd_app:fails", ["calling 'odd_app:fails' raised RuntimeError: no"]),
        ("odd_app:nothing", ["is a list"]),
        ("twice_app", ["two activities are named 'a'"]),
    ],
)
def test_a_target_that_cannot_be_served(cli: InProcess, target: str, parts: list[str]) -> None:
    done = cli("worker", target)
    assert done.code == 2
    assert done.out == ""
    for part in parts:
        assert part in done.err
    assert done.err.splitlines()[-1].startswith("error: ")
    assert "importlib" not in done.err
    assert "cli/targets.py" not in done.err


@pytest.mark.parametrize(
    ("name", "code", "parts"),
    [
        ("raises", 1, ["span_app.py", "in lifespan", "in pool", "ended with OSError: no database"]),
        ("no_manager", 2, ["lifespan must be", "coroutine", "@asynccontextmanager"]),
        ("generator", 2, ["lifespan must be", "async_generator", "@asynccontextmanager"]),
        ("no_function", 2, ["lifespan must be", "not int", "@asynccontextmanager"]),
        ("unready", 2, ["lifespan must be", "@asynccontextmanager"]),
    ],
)
def test_a_lifespan_that_does_not_work_is_told_in_short(cli: InProcess, name: str, code: int, parts: list[str]) -> None:
    done = cli("worker", f"span_app:{name}", "--log-level", "error")
    assert (done.code, done.out) == (code, "")
    for part in parts:
        assert part in done.err
    assert done.err.splitlines()[-1].startswith("error: ")
    assert "runtime/worker.py" not in done.err
    assert "asyncio" not in done.err.replace("asynccontextmanager", "")
    assert len(done.err.splitlines()) < 12


def test_a_process_local_transport_is_refused_with_the_remedy(
    cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAIGEANT_TRANSPORT")
    (tmp_path / "local_app.py").write_text(
        "from paigeant import activity\n@activity('a')\nasync def a() -> None: ...\n"
    )
    commands = [
        ["worker", "local_app"],
        ["dispatch", "a"],
        ["dispatch", "a", "--wait"],
        ["queues"],
        ["dead-letters", "list"],
        ["workflows", "status", "x"],
    ]
    for command in commands:
        done = cli(*command)
        assert done.code == 2
        assert "PAIGEANT_TRANSPORT=sqlite" in done.err
        assert done.out == ""


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--lease", "soon", "--lease 'soon'"),
        ("--lease", "900ms", "--lease '900ms': expected a time such as 90, 1.5s, 10m, 2h or 7d, and at least 1 s"),
        ("--grace", "-1", "--grace"),
        ("--concurrency", "0", "--concurrency"),
        ("--namespace", "Not One", "PAIGEANT_NAMESPACE"),
        ("--transport", "kafka", "no transport 'kafka'; installed"),
    ],
)
def test_wrong_options(cli: InProcess, tmp_path: Path, option: str, value: str, part: str) -> None:
    (tmp_path / "some_app.py").write_text("from paigeant import activity\n@activity('a')\nasync def a() -> None: ...\n")
    done = cli("worker", "some_app", option, value)
    assert done.code == 2
    assert part in done.err
