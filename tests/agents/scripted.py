"""Models that say what a test wants."""

from __future__ import annotations

from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from paigeant.abc import Transport

Arguments = dict[str, Any] | str


def script(*turns: list[Arguments] | str) -> FunctionModel:
    """A model that makes these tool calls, one list a turn, or answers with text."""
    left = list(turns)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = left.pop(0)
        if isinstance(turn, str):
            return ModelResponse(parts=[TextPart(turn)])
        return ModelResponse(parts=[ToolCallPart("dispatch_workflow", arguments) for arguments in turn])

    return FunctionModel(answer)


def returns(messages: list[ModelMessage]) -> list[Any]:
    return [part.content for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]


def plan(*names: str, **more: Any) -> dict[str, Any]:
    return {"activities": [{"name": name} for name in names], **more}


async def ready(transport: Transport) -> dict[str, int]:
    return {name: stats.ready for name, stats in (await transport.queues()).items() if stats.ready}
