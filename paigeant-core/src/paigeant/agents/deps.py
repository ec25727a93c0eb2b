"""What a run of the planner works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runtime.activity import Activity
    from ..runtime.dispatcher import WorkflowDispatcher


@dataclass
class PlannerAgentDeps:
    """Dependencies of the planner agent; make them anew for each user.

    :param workflow_dispatcher: dispatches what was planned.
    :param user_obo_token: token of the user on whose behalf the workflows run. It goes to the dispatcher
        and nowhere else: no prompt, message, log or ``repr`` has it.
    :param activities: those the planner may use, each on its own queue; it is told their parameters, and
        others are refused. Empty: it may name any, on the queue of the activity's name.
    """

    workflow_dispatcher: WorkflowDispatcher
    user_obo_token: str | None = field(default=None, repr=False)
    activities: Sequence[Activity[..., Any]] = ()
    _dispatched: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False)

    @property
    def dispatched(self) -> tuple[str, ...]:
        """Correlation ids of the workflows dispatched with these, oldest first."""
        return tuple(self._dispatched)

    def dispatched_by(self, run_id: str) -> tuple[str, ...]:
        """Those of one run of the agent."""
        return tuple(wf for wf, run in self._dispatched.items() if run == run_id)

    def remember(self, correlation_id: str, run_id: str) -> None:
        """Note a workflow that was dispatched."""
        self._dispatched[correlation_id] = run_id
