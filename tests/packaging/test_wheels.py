"""The wheels as shipped, each in a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rig.brokers import RedisServer

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("wheels")]


def run(*command: str | Path, cwd: Path, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@dataclass(frozen=True)
class Environment:
    """A virtual environment that never sees the clone."""

    path: Path

    def bin(self, name: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run(self.path / "bin" / name, *arguments, cwd=self.path, code=code)

    def python(self, code: str) -> str:
        return self.bin("python", "-I", "-W", "error", "-c", code).stdout

    def installed(self) -> dict[str, str]:
        listed = run(UV, "pip", "list", "--format", "json", cwd=self.path, VIRTUAL_ENV=str(self.path)).stdout
        return {row["name"]: row["version"] for row in json.loads(listed)}


Make = Callable[..., Environment]


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built through the source distribution, without the workspace."""
    out = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--all-packages", "--no-sources", "--quiet", "--out-dir", out, cwd=ROOT)
    return out


def wheel(dist: Path, name: str) -> Path:
    (path,) = dist.glob(f"{name}-*.whl")
    return path


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    def environment(*packages: str) -> Environment:
        path = tmp_path_factory.mktemp("env") / "venv"
        run(UV, "venv", "--quiet", "--python", sys.executable, path, cwd=path.parent)
        run(UV, "pip", "install", "--quiet", *packages, cwd=path.parent, VIRTUAL_ENV=str(path))
        return Environment(path)

    return environment


@pytest.fixture(scope="session")
def core(dist: Path, make: Make) -> Environment:
    return make(str(wheel(dist, "paigeant_core")))


def test_lock_fits_the_requirements() -> None:
    run(UV, "lock", "--check", cwd=ROOT)


def test_core_wheel_holds_the_package_its_types_and_licence(dist: Path) -> None:
    with zipfile.ZipFile(wheel(dist, "paigeant_core")) as archive:
        names = archive.namelist()
    assert "paigeant/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"paigeant", "paigeant_core"}


def test_meta_wheel_holds_no_code(dist: Path) -> None:
    with zipfile.ZipFile(wheel(dist, "paigeant")) as archive:
        assert [name for name in archive.namelist() if ".dist-info/" not in name] == []


def test_core_alone_brings_three_packages_and_what_those_bring(core: Environment, make: Make) -> None:
    have = core.installed()
    del have["paigeant-core"]
    assert (
        have
        == make("msgspec>=0.19,<1", "pluggy>=1.7,<2", "pydantic>=2.11,<3", "pydantic-settings>=2.10,<3").installed()
    )


WORKFLOW = """
import asyncio
from paigeant import ActivitySpec, Worker, WorkflowClient, WorkflowDispatcher, activity, get_transport

@activity("greet")
async def greet(name: str) -> str:
    return f"hello {name}"

async def main():
    async with get_transport() as transport, Worker(transport, [greet]), WorkflowDispatcher(transport) as dispatcher:
        wf = await dispatcher.dispatch_workflow([ActivitySpec(name="greet", arguments={"name": "you"})])
        print((await WorkflowClient(transport).result(wf, timeout=30)).results["greet"])

asyncio.run(main())
"""


def test_core_alone_runs_a_workflow(core: Environment) -> None:
    assert core.python(WORKFLOW) == "hello you\n"


def test_core_alone_runs_a_workflow_on_sqlite(core: Environment) -> None:
    choose = f"import os; os.environ |= {{'PAIGEANT_TRANSPORT': 'sqlite://{core.path}/try.db'}}\n"
    assert core.python(choose + WORKFLOW) == "hello you\n"


def test_core_alone_says_how_to_get_the_command_line(core: Environment) -> None:
    done = core.bin("paigeant", "plugins", code=2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert 'pip install "paigeant-core[cli]"' in line


def test_core_alone_says_how_to_get_the_planner(core: Environment) -> None:
    done = core.bin("python", "-c", "import paigeant; paigeant.create_planner_agent()", code=1)
    assert "MissingExtra" in done.stderr
    assert 'pip install "paigeant-core[agents]"' in done.stderr


def test_core_with_command_line(dist: Path, make: Make) -> None:
    environment = make(f"{wheel(dist, 'paigeant_core')}[cli]")
    assert "pydantic-ai-slim" not in environment.installed()
    listed = environment.bin("paigeant", "plugins").stdout
    assert {name for name in ("inmemory", "sqlite", "json", "hs256") if name in listed} == {
        "inmemory",
        "sqlite",
        "json",
        "hs256",
    }


FOUNDING = """
import asyncio
from paigeant import create_planner_agent, PlannerAgentDeps, WorkflowDispatcher, get_transport

async def main():
    async with get_transport() as transport:
        deps = PlannerAgentDeps(workflow_dispatcher=WorkflowDispatcher(transport))
        result = await create_planner_agent().run("Create a customer onboarding workflow", deps=deps)
        print(bool(result.output))

asyncio.run(main())
"""


def test_everything(dist: Path, make: Make) -> None:
    ours = [wheel(dist, f"paigeant_{name}") for name in ("core", *CLIENTS)]
    environment = make(*map(str, ours), f"{wheel(dist, 'paigeant')}[all]")
    assert {"msgpack", "pydantic-ai-slim", "pytest", "rich"} <= environment.installed().keys()
    assert environment.python(WORKFLOW) == "hello you\n"
    assert environment.bin("python", "-I", "-c", FOUNDING).stdout == "True\n"


CLIENTS = {"redis": "redis", "rabbitmq": "aio-pika", "nats": "nats-py"}

NOT_IMPORTED = """
import sys
import paigeant
from paigeant.__main__ import main
sys.argv = ["paigeant", "plugins", "--json"]
try:
    main()
except SystemExit as done:
    assert not done.code, done
found = {"redis", "hiredis", "aio_pika", "aiormq", "nats"} & sys.modules.keys()
assert not found, found
"""


@pytest.mark.parametrize("name", CLIENTS)
def test_a_broker_package_brings_its_own_client_and_no_other(dist: Path, make: Make, name: str) -> None:
    """Beside the core alone; it is found through its entry point, and listing it imports no client."""
    environment = make(f"{wheel(dist, 'paigeant_core')}[cli]", str(wheel(dist, f"paigeant_{name}")))
    have = environment.installed().keys()
    assert {CLIENTS[other] for other in CLIENTS if CLIENTS[other] in have} == {CLIENTS[name]}
    assert "hiredis" in have or name != "redis"
    rows = json.loads(environment.bin("python", "-I", "-c", NOT_IMPORTED).stdout)
    assert {row["status"] for row in rows if row["name"] == name} == {"available"}
    with zipfile.ZipFile(wheel(dist, f"paigeant_{name}")) as archive:
        names = archive.namelist()
    assert f"paigeant_{name}/py.typed" in names
    assert {part.split("/")[0].split("-")[0] for part in names} == {f"paigeant_{name}"}


@pytest.mark.parametrize("name", CLIENTS)
def test_an_extra_of_the_meta_distribution_brings_one_broker(dist: Path, make: Make, name: str) -> None:
    ours = [wheel(dist, f"paigeant_{part}") for part in ("core", name)]
    have = make(*map(str, ours), f"{wheel(dist, 'paigeant')}[{name}]").installed().keys()
    assert {other for other in CLIENTS if f"paigeant-{other}" in have} == {name}


def test_the_very_same_code_runs_on_a_broker(dist: Path, make: Make, tmp_path: Path) -> None:
    environment = make(str(wheel(dist, "paigeant_core")), str(wheel(dist, "paigeant_redis")))
    with RedisServer(tmp_path) as server:
        choose = f"import os; os.environ |= {server.environment!r}\n"
        assert environment.python(choose + WORKFLOW) == "hello you\n"
