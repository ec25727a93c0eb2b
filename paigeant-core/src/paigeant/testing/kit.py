"""What all suites share: a test is a coroutine, run on an event loop of its own, with its rules noted."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

from ..model.capabilities import Capabilities
from . import report

S = TypeVar("S", bound="Suite")


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of a conformance test before it runs.

    :param rules: rule ids covered.
    :param needs: the capability without which it does not apply.
    :param real: it measures the machine, or uses threads or processes: real time only.
    """

    rules: tuple[str, ...]
    needs: str | None = None
    real: bool = False


class Suite:
    """Base of the conformance suites. Subclasses are collected by pytest like any ``Test...`` class.

    Every test gets a ``namespace`` of its own; ``make`` must build its instances with it.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()
    """What the implementation declares."""

    patience: ClassVar[float] = 10.0
    """Seconds in which what must happen has to happen."""

    quiet: ClassVar[float] = 0.25
    """Seconds of watching that something does not happen."""

    limit: ClassVar[float] = 90.0
    """Seconds for one test; beyond, something waits for ever."""

    namespace: str = "default"

    def prepare(self, tmp_path: Path, stack: AsyncExitStack) -> Any:
        """What the tests of this suite work with."""
        return tmp_path

    def make_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of a test; asyncio's own unless overridden."""
        return asyncio.new_event_loop()

    def note(self, text: str) -> None:
        """Put a remark into the report."""
        self._notes.append(text)

    def inapplicable(self, case: Case) -> str:
        """Why this test does not apply, or nothing."""
        if case.needs is not None and not _declared(getattr(self.capabilities, case.needs)):
            return f"not declared: {case.needs}"
        return ""

    def perform(self, case: Case, name: str, body: Callable[[Any, Any], Awaitable[None]], tmp_path: Path) -> None:
        """Run one test and record how it ended."""
        __tracebackhide__ = True
        self._notes: list[str] = []
        self.namespace = f"ct-{uuid.uuid4().hex[:12]}"
        result: report.Result = "failed"
        note = ""
        try:
            if reason := self.inapplicable(case):
                skip(reason + ("; yet it holds" if report.wanted() and self._holds(body, tmp_path) else ""))
            self._run(body, tmp_path)
            result, note = "passed", "; ".join(self._notes)
        except BaseException as exc:
            result, note = ("skipped" if _is_skip(exc) else "failed"), str(exc)
            raise
        finally:
            suite, subject = _suite_of(type(self)), type(self).__name__.removeprefix("Test")
            report.record(report.Outcome(subject, suite, name, case.rules, result, note))

    def _holds(self, body: Callable[[Any, Any], Awaitable[None]], tmp_path: Path) -> bool:
        """Whether a test that does not apply would pass."""
        try:
            self._run(body, tmp_path)
        except BaseException as exc:
            if isinstance(exc, Exception) or _is_skip(exc):
                return False
            raise
        return True

    def _run(self, body: Callable[[Any, Any], Awaitable[None]], tmp_path: Path) -> None:
        runner = asyncio.Runner(loop_factory=self.make_loop)
        stuck: list[Coroutine[Any, Any, Any]] = []
        try:
            runner.run(self._within_limit(body, tmp_path))
        except BaseException:  # told; what it left unfinished would be told too, in whichever test it is collected
            runner.get_loop().set_exception_handler(lambda _loop, _context: None)
            raise
        finally:
            stuck += runner.run(_cancel_rest(self.patience))
            if stuck:
                runner.get_loop().close()  # Runner.close would wait for them, without end
                _unwind(stuck)
            else:
                runner.close()
        if stuck:
            names = [repr(coroutine) for coroutine in stuck]
            raise AssertionError(f"cancelled, yet still running after {self.patience:g} s: {names}")

    async def _within_limit(self, body: Callable[[Any, Any], Awaitable[None]], tmp_path: Path) -> None:
        async def whole() -> None:
            async with AsyncExitStack() as stack:
                await body(self, self.prepare(tmp_path, stack))

        task = asyncio.create_task(whole())  # not a timeout: what swallows cancellation must not hang the run
        await asyncio.wait([task], timeout=self.limit)
        if not task.done():
            raise AssertionError(f"not finished within {self.limit:g} s: something waits for ever")
        task.result()


async def _cancel_rest(patience: float) -> list[Coroutine[Any, Any, Any]]:
    """Cancel what a test left running; the coroutines that go on all the same."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    pending = (await asyncio.wait(rest, timeout=patience))[1] if rest else set[asyncio.Task[Any]]()
    return [coroutine for task in pending if asyncio.iscoroutine(coroutine := task.get_coro())]


def _unwind(stuck: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """End what ignores cancellation here and now: collected as garbage, it would fail whichever test runs then."""
    for coroutine in stuck:
        for _ in range(100):  # each waits once more in its clean-up, at will
            with suppress(Exception):
                coroutine.close()
                break


def conformance(
    *also: str, needs: str | None = None, real: bool = False
) -> Callable[[Callable[[S, Any], Awaitable[None]]], Callable[[S, Path], None]]:
    """Turn a coroutine ``test_<rule>_...(self, prepared)`` into a plain test method.

    :param also: further rule ids that it covers.
    :param needs: a capability; the test is skipped where that is not declared.
    :param real: it measures the machine, or uses threads or processes.
    """

    def decorate(body: Callable[[S, Any], Awaitable[None]]) -> Callable[[S, Path], None]:
        name = body.__name__
        case = Case((name.split("_")[1], *also), needs, real)

        def test(self: S, tmp_path: Path) -> None:
            __tracebackhide__ = True
            self.perform(case, name, body, tmp_path)

        test.__name__, test.__qualname__, test.__doc__ = name, body.__qualname__, body.__doc__
        vars(test)["conformance"] = case
        return test

    return decorate


def cases(suite: type[Suite]) -> dict[str, Case]:
    """The conformance tests of a suite by name."""
    found = {name: getattr(getattr(suite, name), "conformance", None) for name in dir(suite)}
    return {name: case for name, case in found.items() if isinstance(case, Case)}


def skip(reason: str) -> NoReturn:
    """Leave the running test out, visibly."""
    import pytest

    pytest.skip(reason)


def _is_skip(exc: BaseException) -> bool:
    import pytest

    return isinstance(exc, pytest.skip.Exception)


def _declared(value: object) -> bool:
    return value is None or bool(value)  # ``None`` is "without limit"


def _suite_of(cls: type) -> str:
    return next((base.__name__ for base in cls.__mro__ if base.__module__.startswith("paigeant.testing")), "")
