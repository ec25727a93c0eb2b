"""What holds for every run of the planner, whatever the model says."""

from __future__ import annotations

import warnings
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models.test import TestModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.tools import ToolDefinition

from ..errors import ConfigurationError, PaigeantWarning
from .deps import PlannerAgentDeps

TOOL = "dispatch_workflow"
UNREADABLE = "unreadable"


class StandInModel(TestModel):
    """In place of a model nobody has configured: calls the tool once, with the example."""


class PlannerGuard(AbstractCapability[PlannerAgentDeps]):
    """Checks a run before it starts, and lets the tool see arguments that are not even JSON."""

    async def before_run(self, ctx: RunContext[PlannerAgentDeps]) -> None:
        """:raises ConfigurationError: no ``deps``, or a test model where a real one is needed."""
        if not isinstance(ctx.deps, PlannerAgentDeps):
            raise ConfigurationError("the planner needs deps: agent.run(..., deps=PlannerAgentDeps(dispatcher))")
        model = _innermost(ctx.model)
        if isinstance(model, TestModel):
            _check_test_model(model, ctx.deps)

    async def before_tool_validate(
        self,
        ctx: RunContext[PlannerAgentDeps],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: str | dict[str, Any],
    ) -> str | dict[str, Any]:
        """Malformed arguments reach the tool as such: refused there as data, they cost no retry of the run."""
        if tool_def.name != TOOL or isinstance(args, dict):
            return args
        try:
            return ToolCallPart(TOOL, args).args_as_dict(raise_if_invalid=True)
        except (ValueError, AssertionError) as exc:
            return {UNREADABLE: str(exc)}


def _innermost(model: object) -> object:
    while isinstance(model, WrapperModel):
        model = model.wrapped
    return model


def _check_test_model(model: TestModel, deps: PlannerAgentDeps) -> None:
    transport = deps.workflow_dispatcher.transport
    stand_in = isinstance(model, StandInModel)
    if transport.scope != "process":
        has = "has no model" if stand_in else "has pydantic-ai's test model, which makes up what it says"
        raise ConfigurationError(
            f"the planner {has}, and {type(transport).__name__} is shared with others: set "
            "PAIGEANT_PLANNER_MODEL to a real one, or call create_planner_agent(model=...); nothing was dispatched"
        )
    if stand_in:
        warnings.warn(
            "the planner has no model and dispatches an example; set PAIGEANT_PLANNER_MODEL, or call "
            "create_planner_agent(model=...)",
            PaigeantWarning,
            stacklevel=2,
        )
