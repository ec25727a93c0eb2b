"""What ``paigeant worker`` serves of a module, what it refuses to, and how it says so."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paigeant import Worker
from paigeant.cli.targets import load

from .conftest import InProcess

FILES = {
    "empty_app.py": "x = 1\n",
    "workers_app.py": "from paigeant import *\n@activity('a')\nasync def a() -> None: ...\n"
    "one, two = (Worker(get_transport(), [a]) for _ in range(2))\nalias = one\n",
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
    "stock_app.py": """
from paigeant import activity

def logged(function):
    async def call():
        return await function()
    return call

@activity("reserve")
async def reserve() -> None: ...
""",
    "billing_app.py": """
from paigeant import activity
from stock_app import logged, reserve

@activity("charge")
async def charge() -> None: ...

@activity("ledger")
@logged
async def ledger() -> None: ...
""",
    "gathering_app.py": "from billing_app import charge, reserve\n",
    "package_app/__init__.py": "from billing_app import charge\nfrom .tasks import notify, send\n",
    "package_app/tasks.py": "from paigeant import activity\n"
    "@activity('notify')\nasync def notify() -> None: ...\n@activity('send')\nasync def send() -> None: ...\n",
    "twice_app.py": "from paigeant import activity\n"
    "@activity('a')\nasync def one() -> None: ...\n@activity('a')\nasync def two() -> None: ...\n",
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0].endswith("_app"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "activities", "left"),
    [
        ("billing_app", ["charge", "ledger"], "reserve (of stock_app)"),
        ("package_app", ["notify", "send"], "charge (of billing_app)"),
        ("gathering_app", ["charge", "reserve"], ""),
        ("stock_app.py", ["reserve"], ""),
    ],
)
def test_what_a_module_imports_is_left_to_others_if_it_has_its_own(
    caplog: pytest.LogCaptureFixture, target: str, activities: list[str], left: str
) -> None:
    caplog.set_level(logging.INFO, "paigeant.worker")
    found = load(target)
    assert not isinstance(found, Worker)
    assert [one.name for one in found] == activities
    assert [message.split(": ")[1].split(";")[0] for message in caplog.messages] == ([left] if left else [])


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
        ("workers_app", ["has 2 workers", "name one: workers_app:", "workers_app:two"]),
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
    gc.collect()  # what earlier tests have left must not be told of in this one's log
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
