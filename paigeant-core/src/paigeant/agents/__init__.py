"""Agents that plan workflows (extra ``agents``)."""

from __future__ import annotations

from ..errors import MissingExtra

try:
    from .deps import PlannerAgentDeps
    from .planner import create_planner_agent
except ModuleNotFoundError as exc:
    if (exc.name or "").partition(".")[0] != "pydantic_ai":
        raise
    raise MissingExtra(
        "the planner agent needs pydantic-ai, which is not installed; install it with: "
        'pip install "paigeant-core[agents]"'
    ) from exc

__all__ = ["PlannerAgentDeps", "create_planner_agent"]
