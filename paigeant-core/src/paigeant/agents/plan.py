"""What a model says when it plans a workflow, checked member by member before anything comes of it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ..errors import InvalidWorkflow
from ..routing import ActivitySpec, ResultOf

EXAMPLE = [
    {"name": "validate-input"},
    {"name": "create-account"},
    {"name": "send-notification"},
]
"""Shown to models; what a test model dispatches."""

_MOST_ERRORS = 10


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ResultReference(_Said):
    """The result of an earlier activity, or a part of it."""

    step: str = Field(description="Name (or id) of an earlier activity of this workflow.")
    path: tuple[str | int, ...] = Field((), description="Keys and indexes into its result; empty: all of it.")


class PlannedActivity(_Said):
    """One activity of the itinerary."""

    name: str = Field(description="Name of the activity, such as 'create-account'.")
    arguments: dict[str, JsonValue] = Field(
        {}, description="Values by parameter. A parameter not given here takes the variable of its name."
    )
    results: dict[str, ResultReference] = Field(
        {}, description="Parameters that take the result of an earlier activity instead of a value."
    )
    id: str | None = Field(None, description="Only needed if an activity occurs twice and is referred to.")

    def spec(self, queue: str | None = None) -> ActivitySpec:
        """As the dispatcher takes it.

        :param queue: of the activity; default its name.
        :raises InvalidWorkflow: a name is malformed, or a parameter is given twice.
        """
        if twice := sorted(self.arguments.keys() & self.results.keys()):
            raise InvalidWorkflow(f"activity {self.name!r}: {', '.join(twice)} is in arguments and in results")
        taken = {name: ResultOf(one.step, *one.path) for name, one in self.results.items()}
        return ActivitySpec(name=self.name, arguments={**self.arguments, **taken}, id=self.id, queue=queue)


class WorkflowPlan(_Said):
    """A workflow: activities that run one after the other."""

    activities: Annotated[tuple[PlannedActivity, ...], Field(min_length=1, examples=[EXAMPLE])]
    variables: dict[str, JsonValue] = Field({}, description="Values that any activity takes by parameter name.")

    @classmethod
    def read(cls, said: dict[str, Any]) -> WorkflowPlan:
        """Check what a model said.

        :raises InvalidWorkflow: it is no plan; says where.
        """
        try:
            return cls.model_validate(said)
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_input=False)[:_MOST_ERRORS]
            lines = [f"{'.'.join(map(str, error['loc'])) or 'plan'}: {error['msg']}" for error in errors]
            raise InvalidWorkflow("; ".join(lines)) from exc

    def identity(self, run_id: str) -> str:
        """A correlation id: the same for the same plan in the same run, else another."""
        canonical = json.dumps([run_id, self.model_dump(mode="json")], sort_keys=True)
        return f"plan-{hashlib.sha256(canonical.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
