"""Durable workflow orchestration for AI agents, over the message broker you already run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    ConfigurationError,
    DuplicateWorkflow,
    InvalidWorkflow,
    PaigeantError,
    PermanentFault,
    ResultExpired,
    ResultTimeout,
    RetryAfter,
    StoreRequired,
    TransientFault,
    WorkflowError,
    WorkflowFailed,
    WorkflowNotFound,
)

if TYPE_CHECKING:
    from .agents import PlannerAgentDeps as PlannerAgentDeps
    from .agents import create_planner_agent as create_planner_agent
    from .routing import ActivitySpec, ResultOf, RetryPolicy
    from .runtime.activity import Activity, activity
    from .runtime.client import WorkflowClient
    from .runtime.context import ActivityContext
    from .runtime.dead_letters import DeadLetter, DeadLetters
    from .runtime.dispatcher import RevisionPolicy, WorkflowDispatcher
    from .runtime.execution import Middleware
    from .runtime.outcome import FaultInfo, HistoryEntry, Outcome, WorkflowStatus
    from .runtime.transports import get_transport
    from .runtime.worker import Worker

__version__ = "0.1.0"

_HOMES = {
    "Activity": "runtime.activity",
    "ActivityContext": "runtime.context",
    "ActivitySpec": "routing",
    "DeadLetter": "runtime.dead_letters",
    "DeadLetters": "runtime.dead_letters",
    "FaultInfo": "runtime.outcome",
    "HistoryEntry": "runtime.outcome",
    "Middleware": "runtime.execution",
    "Outcome": "runtime.outcome",
    "PlannerAgentDeps": "agents",
    "ResultOf": "routing",
    "RetryPolicy": "routing",
    "RevisionPolicy": "runtime.dispatcher",
    "Worker": "runtime.worker",
    "WorkflowClient": "runtime.client",
    "WorkflowDispatcher": "runtime.dispatcher",
    "WorkflowStatus": "runtime.outcome",
    "activity": "runtime.activity",
    "create_planner_agent": "agents",
    "get_transport": "runtime.transports",
}
"""Loaded when first used, so that ``import paigeant`` is quick and optional dependencies stay optional."""

__all__ = [
    "Activity",
    "ActivityContext",
    "ActivitySpec",
    "ConfigurationError",
    "DeadLetter",
    "DeadLetters",
    "DuplicateWorkflow",
    "FaultInfo",
    "HistoryEntry",
    "InvalidWorkflow",
    "Middleware",
    "Outcome",
    "PaigeantError",
    "PermanentFault",
    "ResultExpired",
    "ResultOf",
    "ResultTimeout",
    "RetryAfter",
    "RetryPolicy",
    "RevisionPolicy",
    "StoreRequired",
    "TransientFault",
    "Worker",
    "WorkflowClient",
    "WorkflowDispatcher",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowNotFound",
    "WorkflowStatus",
    "activity",
    "get_transport",
]
# Not the planner: `from paigeant import *` must work without the extra `agents`.


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | _HOMES.keys())
