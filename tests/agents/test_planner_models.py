"""Which model the planner takes, and that a test model never reaches a live transport."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from pydantic_ai.models.test import TestModel

from paigeant import ConfigurationError, PlannerAgentDeps, WorkflowDispatcher, create_planner_agent, get_transport
from paigeant.abc import Transport
from paigeant.errors import PaigeantWarning

from .scripted import plan, ready, script


async def test_pydantic_ais_test_model_dispatches_one_valid_workflow(
    deps: PlannerAgentDeps, transport: Transport
) -> None:
    result = await create_planner_agent(TestModel()).run("Create a customer onboarding workflow", deps=deps)
    assert await ready(transport) == {"validate-input": 1}
    assert deps.dispatched[0] in result.output


async def test_without_a_model_an_example_is_dispatched_with_a_warning(
    deps: PlannerAgentDeps, transport: Transport
) -> None:
    agent = create_planner_agent()
    with pytest.warns(PaigeantWarning, match="PAIGEANT_PLANNER_MODEL"):
        await agent.run("go", deps=deps)
    assert await ready(transport) == {"validate-input": 1}


@pytest.mark.parametrize("way", ["run", "stream", "iter"])
async def test_without_a_model_nothing_reaches_a_shared_transport(tmp_path: Path, way: str) -> None:
    transport = get_transport(f"sqlite://{tmp_path}/x.db")
    async with transport, WorkflowDispatcher(transport) as dispatcher:
        deps, agent = PlannerAgentDeps(dispatcher), create_planner_agent()
        with pytest.raises(ConfigurationError, match="PAIGEANT_PLANNER_MODEL"):
            if way == "run":
                await agent.run("go", deps=deps)
            elif way == "stream":
                async with agent.run_stream("go", deps=deps) as stream:
                    await stream.get_output()
            else:
                async with agent.iter("go", deps=deps) as run:
                    async for _ in run:
                        pass
        assert await ready(transport) == {}


@pytest.mark.parametrize("way", ["variable", "name", "object", "run", "override"])
async def test_no_test_model_reaches_a_shared_transport(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "variable":
        monkeypatch.setenv("PAIGEANT_PLANNER_MODEL", "test")
    model = {"name": "test", "object": TestModel(), "run": script("done"), "override": script("done")}.get(way)
    agent = create_planner_agent(model)
    transport = get_transport(f"sqlite://{tmp_path}/x.db")
    async with transport, WorkflowDispatcher(transport) as dispatcher:
        with pytest.raises(ConfigurationError, match="test model"):
            if way == "override":
                with agent.override(model=TestModel()):
                    await agent.run("go", deps=PlannerAgentDeps(dispatcher))
            else:
                await agent.run("go", deps=PlannerAgentDeps(dispatcher), model=TestModel() if way == "run" else None)
        assert await ready(transport) == {}


async def test_a_model_given_for_one_run_is_a_model(tmp_path: Path) -> None:
    transport = get_transport(f"sqlite://{tmp_path}/x.db")
    async with transport, WorkflowDispatcher(transport) as dispatcher:
        agent, deps = create_planner_agent(), PlannerAgentDeps(dispatcher)
        await agent.run("go", deps=deps, model=script([plan("a")], "done"))
        with agent.override(model=script([plan("b")], "done")):
            await agent.run("go", deps=deps)
        assert await ready(transport) == {"a": 1, "b": 1}


async def test_the_model_comes_from_the_environment(
    deps: PlannerAgentDeps, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_PLANNER_MODEL", "test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await create_planner_agent().run("go", deps=deps)
    assert await ready(transport) == {"validate-input": 1}


def test_a_wrong_model_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_PLANNER_MODEL", "nobody:nothing")
    with pytest.raises(ConfigurationError, match="PAIGEANT_PLANNER_MODEL 'nobody:nothing'"):
        create_planner_agent()


async def test_deps_are_not_forgotten() -> None:
    with pytest.raises(ConfigurationError, match="deps=PlannerAgentDeps"):
        await create_planner_agent(script("done")).run("go")  # type: ignore[call-overload]


SNIPPET = """
import asyncio
async def main():
    from paigeant import create_planner_agent, PlannerAgentDeps, WorkflowDispatcher, get_transport
    transport = get_transport()
    dispatcher = WorkflowDispatcher(transport)
    deps = PlannerAgentDeps(workflow_dispatcher=dispatcher)
    agent = create_planner_agent()
    result = await agent.run("Create a customer onboarding workflow", deps=deps)
    print(result.output)
asyncio.run(main())
"""
WITHOUT_EXTRA = """
import sys
sys.modules["pydantic_ai"] = None
from paigeant.errors import MissingExtra
try:
    from paigeant import create_planner_agent
except MissingExtra as exc:
    print(exc)
"""


@pytest.mark.parametrize(
    ("code", "part"),
    [(SNIPPET, '"status":"dispatched"'), (WITHOUT_EXTRA, 'pip install "paigeant-core[agents]"')],
    ids=["snippet", "missing-extra"],
)
def test_in_a_process_of_its_own(code: str, part: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert part in done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    assert "ResourceWarning" not in done.stderr
