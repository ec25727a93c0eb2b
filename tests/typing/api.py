"""Checked by mypy and pyright, never run: what users of the public API see."""

from __future__ import annotations

from typing import Any, assert_type

from paigeant import (
    ActivityContext,
    ActivitySpec,
    Outcome,
    WorkflowClient,
    WorkflowDispatcher,
    activity,
    get_transport,
)


@activity("count", timeout=5)
async def count(ctx: ActivityContext, text: str, words: bool = True) -> int:
    return len(text.split() if words else text)


@activity
def shout(text: str) -> str:
    return text.upper()


@activity("spell")
async def spell(text: str, upper: bool = False) -> list[str]:
    return list(text.upper() if upper else text)


@activity
async def look_up(ctx: ActivityContext[dict[str, int]], text: str) -> int | None:
    return ctx.deps.get(text)


assert_type(shout("a"), str)
assert_type(count.spec(text="a b"), ActivitySpec)


async def results(ctx: ActivityContext[dict[str, int]], outcome: Outcome) -> None:
    assert_type(ctx.deps, dict[str, int])
    assert_type(ctx.result_of(count), int)
    assert_type(ctx.result_of(shout), str)
    assert_type(ctx.result_of(spell), list[str])
    assert_type(ctx.result_of(look_up), int | None)
    assert_type(ctx.result_of("count"), Any)
    assert_type(await ctx.fetch_result_of(look_up), int | None)
    assert_type(await ctx.fetch_result_of(shout), str)
    assert_type(await ctx.fetch_result_of("count"), Any)
    assert_type(ctx.sync.fetch_result_of(spell), list[str])
    assert_type(ctx.sync.fetch_result_of(shout), str)
    assert_type(ctx.sync.fetch_result_of("count"), Any)
    assert_type(outcome.result_of(count), int)
    assert_type(outcome.result_of(shout), str)
    assert_type(outcome.result_of(spell), list[str])
    assert_type(outcome.result_of(look_up), int | None)
    assert_type(await count(ctx, "a", words=False), int)


async def run() -> None:
    async with get_transport() as transport, WorkflowDispatcher(transport) as dispatcher:
        correlation_id = await dispatcher.dispatch_workflow([shout.spec(text="a")], variables={"b": 1})
        assert_type(correlation_id, str)
        assert_type(await WorkflowClient(transport).result(correlation_id, timeout=1.5), Outcome)


def plain(text: str) -> str:
    return text


async def mistakes(ctx: ActivityContext, outcome: Outcome) -> None:
    outcome.result_of(plain)  # type: ignore[call-overload]
    shout(1)  # type: ignore[arg-type]
    await count(ctx)  # type: ignore[call-arg]
    ActivitySpec("a", nmae="b")  # type: ignore[call-arg]
