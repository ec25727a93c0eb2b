"""The planner agent, with scripted models and no network."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from paigeant import (
    ConfigurationError,
    PlannerAgentDeps,
    Worker,
    WorkflowClient,
    WorkflowDispatcher,
    activity,
    create_planner_agent,
)
from paigeant.abc import Transport
from paigeant.errors import BackendUnavailable, DuplicateWorkflow, OutcomeUnknown, SerializationError

from .scripted import Arguments, plan, ready, returns, script

TOKEN = "secret-token-of-ann"


async def refused(deps: PlannerAgentDeps, arguments: Arguments) -> dict[str, Any]:
    """What the tool answers to a call, in a run that ends well, and a second, correct, call that works."""
    model = script([arguments], [plan("validate-input")], "done")
    result = await create_planner_agent(model).run("go", deps=deps)
    first, second = returns(result.all_messages())
    assert second["status"] == "dispatched"
    assert first["status"] == "refused"
    return first


async def test_a_plan_becomes_a_workflow_that_runs(transport: Transport, deps: PlannerAgentDeps) -> None:
    @activity("create-account")
    async def create_account(email: str, plan: str) -> dict[str, Any]:
        return {"address": {"city": f"{plan}:{email}"}}

    @activity("notify")
    async def notify(city: str, times: int) -> str:
        return f"{city} {times}"

    said = {
        "activities": [
            {"name": "create-account", "arguments": {"email": "x@y.z"}},
            {
                "name": "notify",
                "arguments": {"times": 3},
                "results": {"city": {"step": "create-account", "path": ["address", "city"]}},
            },
        ],
        "variables": {"plan": "pro"},
    }
    result = await create_planner_agent(script([said], "dispatched")).run("onboard", deps=deps)
    (answer,) = returns(result.all_messages())
    async with Worker(transport, [create_account, notify]), WorkflowClient(transport) as client:
        outcome = await client.result(answer["correlation_id"], timeout=20)
    assert outcome.results["notify"] == "pro:x@y.z 3"
    assert deps.dispatched == (answer["correlation_id"],)


async def test_the_answer_names_the_workflow_even_if_the_model_does_not(deps: PlannerAgentDeps) -> None:
    agent = create_planner_agent(script([plan("a")], "all done", [plan("b")], "and done"))
    first = await agent.run("go", deps=deps)
    second = await agent.run("go on", deps=deps)
    assert deps.dispatched[0] in first.output
    assert deps.dispatched[1] in second.output
    assert deps.dispatched[0] not in second.output


async def test_an_answer_that_names_the_workflow_stays_as_it_is(deps: PlannerAgentDeps) -> None:
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        done = returns(messages)
        if done:
            return ModelResponse(parts=[TextPart(f"see {done[0]['correlation_id']}")])
        return ModelResponse(parts=[ToolCallPart("dispatch_workflow", plan("a"))])

    result = await create_planner_agent(FunctionModel(answer)).run("go", deps=deps)
    assert result.output == f"see {deps.dispatched[0]}"


@pytest.mark.parametrize(
    ("arguments", "error", "part"),
    [
        ("{not json", "InvalidWorkflow", "no JSON object"),
        ("[1, 2]", "InvalidWorkflow", "no JSON object"),
        ({}, "InvalidWorkflow", "activities"),
        ({"ctx": 1, "self": 2}, "InvalidWorkflow", "activities"),
        ({"activities": []}, "InvalidWorkflow", "activities"),
        ({"activities": "validate-input"}, "InvalidWorkflow", "activities"),
        ({"activities": [{"name": "Not A Name"}]}, "InvalidWorkflow", "Not A Name"),
        ({"activities": [{"name": "a", "delay": 3}]}, "InvalidWorkflow", "delay"),
        ({"activities": [{"name": "a", "results": {"x": {"step": "missing"}}}]}, "InvalidWorkflow", "missing"),
        (
            {"activities": [{"name": "a"}, {"name": "b", "arguments": {"x": 1}, "results": {"x": {"step": "a"}}}]},
            "InvalidWorkflow",
            "arguments and in results",
        ),
        ({"activities": [{"name": "a"}] * 200}, "InvalidWorkflow", "records"),
        ({"activities": [{"name": "a", "arguments": {"x": 2**80}}]}, "SerializationError", "a"),
    ],
)
async def test_a_bad_plan_is_an_answer_that_the_model_can_act_on(
    deps: PlannerAgentDeps, transport: Transport, arguments: Arguments, error: str, part: str
) -> None:
    answer = await refused(deps, arguments)
    assert error in answer["error"]
    assert part in answer["message"]
    assert len(answer["message"]) <= 2000
    assert answer["remedy"] == "correct the plan and call the tool again"
    assert await ready(transport) == {"validate-input": 1}


async def test_any_number_of_bad_plans_does_not_end_the_run(deps: PlannerAgentDeps) -> None:
    bad: list[Arguments] = ["{", {}, {"activities": 1}]
    result = await create_planner_agent(script(*[bad] * 8, [plan("a")], "done")).run("go", deps=deps)
    assert [one["status"] for one in returns(result.all_messages())] == ["refused"] * 24 + ["dispatched"]


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (BackendUnavailable("broker is down"), "same plan"),
        (OutcomeUnknown("no answer"), "same plan"),
        (SerializationError("no codec"), "correct the plan"),
        (DuplicateWorkflow("taken"), "tell the user"),
        (ConfigurationError("password=hunter2 is wrong"), "tell the user"),
    ],
)
async def test_trouble_is_told_as_data(
    deps: PlannerAgentDeps, monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    original = deps.workflow_dispatcher.dispatch_workflow
    calls: list[Any] = []

    async def dispatch(*args: Any, **kwargs: Any) -> str:
        calls.append(kwargs["correlation_id"])
        if len(calls) == 1:
            raise error
        return await original(*args, **kwargs)

    monkeypatch.setattr(deps.workflow_dispatcher, "dispatch_workflow", dispatch)
    answer = await refused(deps, plan("validate-input"))
    assert answer["error"] == type(error).__name__
    assert remedy in answer["remedy"]
    assert "hunter2" not in answer["message"]
    assert calls[0] == calls[1], "a repeated call must be idempotent"


async def test_a_repeated_call_dispatches_once(deps: PlannerAgentDeps, transport: Transport) -> None:
    same: list[Arguments] = [plan("a", variables={"x": 1, "y": 2})]
    other: list[Arguments] = [plan("a", variables={"y": 2, "x": 1})]
    agent = create_planner_agent(script(same * 3, other, [plan("a", variables={"x": 2})], "done"))
    result = await agent.run("go", deps=deps)
    ids = [one["correlation_id"] for one in returns(result.all_messages())]
    assert len(ids) == 5
    assert len(set(ids[:4])) == 1
    assert ids[4] != ids[0]
    assert await ready(transport) == {"a": 2}


async def test_a_repeated_call_dispatches_once_without_a_store(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIGEANT_STATE_STORE", "none")
    async with WorkflowDispatcher(transport) as dispatcher:
        deps = PlannerAgentDeps(dispatcher)
        await create_planner_agent(script([plan("a")] * 3, [plan("a")], "done")).run("go", deps=deps)
    assert await ready(transport) == {"a": 1}


async def test_a_resumed_run_finds_its_workflow(deps: PlannerAgentDeps, transport: Transport) -> None:
    """Nothing in memory is needed for it: another process derives the same id."""
    for _ in range(2):
        fresh = PlannerAgentDeps(deps.workflow_dispatcher)
        await create_planner_agent(script([plan("a")], "done")).run("go", deps=fresh, run_id="run-1")
    assert await ready(transport) == {"a": 1}


async def test_two_runs_are_two_workflows(deps: PlannerAgentDeps, transport: Transport) -> None:
    agent = create_planner_agent(script([plan("a")], "done", [plan("a")], "done"))
    await agent.run("go", deps=deps)
    await agent.run("go", deps=deps)
    assert await ready(transport) == {"a": 2}


async def test_the_token_goes_to_the_dispatcher_and_nowhere_else(
    deps: PlannerAgentDeps, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def dispatch(*args: Any, **kwargs: Any) -> str:
        seen.append(kwargs["obo_token"])
        return str(kwargs["correlation_id"])

    monkeypatch.setattr(deps.workflow_dispatcher, "dispatch_workflow", dispatch)
    deps.user_obo_token = TOKEN
    with caplog.at_level(logging.DEBUG):
        result = await create_planner_agent(script([plan("a")], "done")).run("go", deps=deps)
    assert seen == [TOKEN]
    assert TOKEN not in f"{result.all_messages()!r}{result.output}{caplog.text}{deps!r}"


async def test_a_token_without_a_provider_dispatches_nothing(deps: PlannerAgentDeps, transport: Transport) -> None:
    deps.user_obo_token = TOKEN
    result = await create_planner_agent(script([plan("a")], "sorry")).run("go", deps=deps)
    (answer,) = returns(result.all_messages())
    assert answer["error"] == "ConfigurationError"
    assert TOKEN not in repr(result.all_messages())
    assert await ready(transport) == {}


async def test_the_planner_is_told_the_activities_and_kept_to_them(deps: PlannerAgentDeps) -> None:
    @activity("create-account")
    async def create_account(email: str, plan: str = "free") -> str:
        """Open an account.

        More about it.
        """
        return email

    instructions: list[str | None] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        instructions.append(info.instructions)
        if returns(messages):
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart("dispatch_workflow", plan("create-account", "drop-tables"))])

    deps.activities = [create_account]
    result = await create_planner_agent(FunctionModel(answer)).run("go", deps=deps)
    (said,) = returns(result.all_messages())
    assert "create-account(email: 'str', plan: 'str' = 'free'): Open an account." in str(instructions[0])
    assert "'drop-tables'" in said["message"]
    assert deps.dispatched == ()


async def test_a_known_activity_is_sent_to_its_own_queue(deps: PlannerAgentDeps, transport: Transport) -> None:
    @activity("create-account", queue="accounts")
    async def create_account() -> None: ...

    deps.activities = [create_account]
    await create_planner_agent(script([plan("create-account")], "done")).run("go", deps=deps)
    assert await ready(transport) == {"accounts": 1}
