"""What users may import from the top. A change here is a change of the public API."""

from __future__ import annotations

import pytest

import paigeant

PUBLIC = [
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


def test_public_names_are_pinned() -> None:
    assert paigeant.__all__ == PUBLIC


# Needs the extra `agents`, so it is left out of `from paigeant import *`.
PLANNER = ["PlannerAgentDeps", "create_planner_agent"]


@pytest.mark.parametrize("name", [*PUBLIC, *PLANNER])
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(paigeant, name) is not None
    assert name in dir(paigeant)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'paigeant' has no attribute 'Workflow'"):
        _ = paigeant.Workflow
