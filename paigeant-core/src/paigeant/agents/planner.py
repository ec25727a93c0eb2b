"""The planner: an agent with one tool, which dispatches a workflow."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic_ai import Agent, RunContext, Tool
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import infer_model

from ..errors import (
    BackendError,
    ConfigurationError,
    InvalidWorkflow,
    MessageTooLarge,
    PaigeantError,
    SerializationError,
    SignerUnavailable,
)
from ..runtime.redaction import redact
from .deps import PlannerAgentDeps
from .guard import TOOL, UNREADABLE, PlannerGuard, StandInModel
from .plan import WorkflowPlan

if TYPE_CHECKING:
    from pydantic_ai.models import KnownModelName, Model

    from ..runtime.activity import Activity

log = logging.getLogger("paigeant.agents")

NAME = "paigeant-planner"
INSTRUCTIONS = f"""\
You plan durable workflows. A workflow is a list of activities that run one after the other, each on its own worker.
Plan what the user asks for and dispatch it with one call of the tool {TOOL!r}. If the tool refuses a plan, read why: \
correct the plan and call it again, or tell the user what stands in the way. Calling it again with the same plan \
starts nothing new. End with one short sentence that names the correlation id.\
"""
DESCRIPTION = "Dispatch a workflow: durable once accepted, it then runs on its own. Answers with its correlation id."
LONGEST = 2000
"""Characters of an error that a model is told."""


def create_planner_agent(model: Model | KnownModelName | str | None = None) -> Agent[PlannerAgentDeps, str]:
    """An agent that turns a request into a workflow and dispatches it: ``agent.run(..., deps=PlannerAgentDeps(...))``.

    One run dispatches one plan once: the correlation id is derived from the run and the plan, so a tool
    call that is repeated - by the model, or by a run that is resumed - finds the same workflow. The answer
    names the correlation ids; ``deps.dispatched`` has them, too.

    :param model: as for ``pydantic_ai.Agent``; default ``PAIGEANT_PLANNER_MODEL``. Where that is not set
        either, pydantic-ai's test model dispatches an example, with a warning. A test model, whoever chose it,
        plans only on a transport of scope ``process``: elsewhere ``run`` raises ``ConfigurationError``.
    :raises ConfigurationError: ``PAIGEANT_PLANNER_MODEL`` names no usable model.
    """
    agent = Agent(
        _configured() if model is None else model,
        deps_type=PlannerAgentDeps,
        name=NAME,
        instructions=[INSTRUCTIONS, _catalogue],
        tools=[_tool()],
        capabilities=[PlannerGuard()],
    )
    agent.output_validator(_name_workflows)
    return agent


def _configured() -> Model:
    from ..plugins.settings import CoreSettings

    name = CoreSettings().planner_model
    if name is None:
        return StandInModel()
    try:
        return infer_model(name)
    except (UserError, ImportError, ValueError) as exc:
        raise ConfigurationError(f"PAIGEANT_PLANNER_MODEL {name!r} cannot be used: {exc}") from exc


def _tool() -> Tool[PlannerAgentDeps]:
    """Made from a schema, so that pydantic-ai leaves the checks to us: its own cost retries, which end a run."""
    return Tool[PlannerAgentDeps].from_schema(
        dispatch_workflow, TOOL, DESCRIPTION, WorkflowPlan.model_json_schema(), takes_ctx=True, sequential=True
    )


async def dispatch_workflow(ctx: RunContext[PlannerAgentDeps], /, **said: Any) -> dict[str, Any]:
    """The tool. Whatever goes wrong is an answer that the model can act on."""
    try:
        return await _dispatch(ctx, said)
    except PaigeantError as exc:
        log.warning("planner run %s: nothing was dispatched: %s", ctx.run_id, type(exc).__name__)
        return {
            "status": "refused",
            "error": type(exc).__name__,
            "message": redact(str(exc))[:LONGEST],
            "remedy": _remedy(exc),
        }


async def _dispatch(ctx: RunContext[PlannerAgentDeps], said: dict[str, Any]) -> dict[str, Any]:
    if said.keys() == {UNREADABLE}:
        raise InvalidWorkflow(f"the arguments are no JSON object: {said[UNREADABLE]}")
    plan = WorkflowPlan.read(said)
    queues = {activity.name: activity.queue for activity in ctx.deps.activities}
    _check_allowed(plan, queues)
    run_id = ctx.run_id or ""
    correlation_id = plan.identity(run_id)
    if correlation_id not in ctx.deps.dispatched:
        await ctx.deps.workflow_dispatcher.dispatch_workflow(
            [activity.spec(queues.get(activity.name)) for activity in plan.activities],
            variables=plan.variables,
            obo_token=ctx.deps.user_obo_token,
            correlation_id=correlation_id,
        )
        ctx.deps.remember(correlation_id, run_id)
    names = [activity.name for activity in plan.activities]
    return {"status": "dispatched", "correlation_id": correlation_id, "activities": names}


def _check_allowed(plan: WorkflowPlan, known: Collection[str]) -> None:
    unknown = sorted({activity.name for activity in plan.activities} - set(known))
    if known and unknown:
        names = ", ".join(map(repr, unknown))
        raise InvalidWorkflow(f"there is no activity {names}; there are: {', '.join(sorted(known))}")


def _remedy(exc: PaigeantError) -> str:
    if isinstance(exc, (InvalidWorkflow, SerializationError, MessageTooLarge)):
        return "correct the plan and call the tool again"
    if isinstance(exc, (BackendError, SignerUnavailable)):
        return "call the tool again with the same plan; if that fails as well, tell the user"
    return "another plan will not help: tell the user"


def _catalogue(ctx: RunContext[PlannerAgentDeps]) -> str:
    """The activities there are, for the model."""
    if not ctx.deps.activities:
        return ""
    return "The only activities:\n" + "\n".join(_line(activity) for activity in ctx.deps.activities)


def _line(activity: Activity[..., Any]) -> str:
    parameters = ", ".join(str(parameter) for parameter in activity.signature.parameters.values())
    purpose = (activity.__doc__ or "").strip().partition("\n")[0]
    return f"- {activity.name}({parameters})" + (f": {purpose}" if purpose else "")


def _name_workflows(ctx: RunContext[PlannerAgentDeps], answer: str) -> str:
    """Whoever reads the answer must find the workflow, also if the model forgot to say it."""
    missing = [wf for wf in ctx.deps.dispatched_by(ctx.run_id or "") if wf not in answer]
    if ctx.partial_output or not missing:
        return answer
    return f"{answer}\n\nDispatched: {', '.join(missing)}"
