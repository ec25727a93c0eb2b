"""One storm: real workers, many workflows, a disturbance, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, islice

from paigeant import Outcome, WorkflowClient, WorkflowDispatcher, get_transport
from paigeant.abc import Transport
from paigeant.errors import BackendUnavailable, OutcomeUnknown
from paigeant.model.message import QueueStats
from paigeant.model.names import dead_letter_queue

from .app import STEPS, expected, itinerary
from .fleet import Fleet, WorkerProcess
from .ledger import Ledger
from .places import Place
from .report import PROOF, Report

PATIENCE = 150.0 if PROOF else 60.0
"""Seconds for anything that must happen: reached only by a test that fails."""
TROUBLE = (BackendUnavailable, OutcomeUnknown)


class Storm:
    """Dispatches ``workflows`` in as many batches as there are ``strikes``.

    :param place: its settings must be those of this process.
    :param chance: seeded; chooses victims and moments.
    """

    def __init__(
        self, place: Place, fleet: Fleet, ledger: Ledger, report: Report, *, workflows: int, chance: random.Random
    ) -> None:
        self.place, self.fleet, self.ledger, self.report, self.chance = place, fleet, ledger, report, chance
        self._batch, self._numbers = -(-workflows // report.strikes), count()
        self._outcomes: dict[str, asyncio.Task[Outcome]] = {}

    @property
    def namespace(self) -> str:
        return self.place.environment["PAIGEANT_NAMESPACE"]

    @property
    def stored(self) -> bool:
        return self.place.store != "none"

    async def run(self, disturb: Callable[[Storm], Awaitable[None]], *, warm: bool = True) -> None:
        """Everything, from the first dispatch to the last check.

        :param warm: wait until every worker serves.
        """
        before, began = asyncio.all_tasks(), time.monotonic()
        self.fleet.start()
        async with self._driver() as self.transport:
            if warm:
                await self._everybody_serves()
            await disturb(self)
            await self._all_ended()
            self.report.seconds = time.monotonic() - began
            await self.eventually(self._drained, "empty queues")
            await self._check_outcomes()
            if self.stored:
                await self._check_histories()
            await self.fleet.stop()
            await self.eventually(self._drained, "empty queues after the workers stopped")
        await self._check_what_is_left()
        assert asyncio.all_tasks() <= before, "tasks are left behind"
        self._count()

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[Transport]:
        async with AsyncExitStack() as stack:
            transport = await self._connected()
            stack.push_async_callback(transport.disconnect)
            self._dispatcher = await stack.enter_async_context(WorkflowDispatcher(transport))
            self._client = await stack.enter_async_context(WorkflowClient(transport))
            try:
                yield transport
            finally:
                for task in self._outcomes.values():
                    task.cancel()
                await asyncio.gather(*self._outcomes.values(), return_exceptions=True)

    async def _connected(self) -> Transport:
        """A new cluster may still be electing: who finds it so asks again."""
        async with asyncio.timeout(PATIENCE):
            while True:
                transport = get_transport()
                try:
                    await transport.connect()
                    return transport
                except TROUBLE:
                    self.report.asked_again += 1
                    await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.fleet.close()
        self.ledger.close()

    # What disturbances use.

    @asynccontextmanager
    async def dispatching(self) -> AsyncIterator[None]:
        """The next batch is dispatched meanwhile; leaves when it is, and the steps of some are under way."""
        started = self.ledger.started
        batch = asyncio.gather(*(self._dispatch(number) for number in islice(self._numbers, self._batch)))
        try:
            await self.eventually(lambda: self.ledger.started > started, "steps under way")
            yield
            await asyncio.wait_for(batch, PATIENCE)
        finally:
            batch.cancel()

    async def victim(self) -> WorkerProcess:
        """A worker in the middle of a step; while nothing is under way, the next one that is."""
        found: list[WorkerProcess] = []

        def look() -> bool:
            worker = self.fleet.busy()
            found.extend([worker] if worker else [])
            return bool(found)

        await self.eventually(look, "a worker at work")
        return found[0]

    async def progress(self) -> None:
        """Wait until steps begin that had not begun yet."""
        started = self.ledger.started
        await self.eventually(lambda: self.ledger.started > started or self.finished, "progress")

    @property
    def backlog(self) -> int:
        """Workflows that were dispatched, and whose first step no worker has begun: they are messages."""
        self.ledger.read()
        return sum(not self.ledger.runs[workflow, STEPS[0]] for workflow in self._outcomes)

    @property
    def finished(self) -> bool:
        """All that was dispatched has ended."""
        return all(task.done() for task in self._outcomes.values())

    async def eventually(self, true: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for what no event tells of."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    answer = true()
                    if await answer if isinstance(answer, Awaitable) else answer:
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {PATIENCE:g} s; {await self._state()}") from None

    async def _dispatch(self, number: int) -> None:
        """As a caller must: what may not have arrived is dispatched again, under the same id."""
        workflow = f"w-{number}"
        while True:
            try:
                await self._dispatcher.dispatch_workflow(itinerary(number), correlation_id=workflow)
                self._outcomes[workflow] = asyncio.ensure_future(self._outcome(workflow))
                return
            except TROUBLE:
                self.report.dispatched_again += 1
                await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    async def _outcome(self, workflow: str) -> Outcome:
        while True:
            try:
                return await self._client.outcome(workflow)
            except TROUBLE:
                self.report.asked_again += 1
                await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    async def _everybody_serves(self) -> None:
        """A worker that finds no broker when it starts, ends: that is for its supervisor, and is not tried here."""
        while not all(self.ledger.at_work(worker.pid) is not None for worker in self.fleet.workers):
            await asyncio.gather(*map(self._dispatch, islice(self._numbers, len(self.fleet.workers))))
            await self.eventually(self._served, "the end of the first workflows")

    def _served(self) -> bool:
        self.fleet.check()
        return self.finished

    # What must be true.

    async def _all_ended(self) -> None:
        _, missing = await asyncio.wait(self._outcomes.values(), timeout=PATIENCE)
        open_ones = [workflow for workflow, task in self._outcomes.items() if task in missing]
        where = [await self._where(workflow) for workflow in open_ones[:5]]
        assert not missing, f"{len(missing)} workflows have not ended: {where}; {await self._state()}"

    async def _where(self, workflow: str) -> str:
        return str(await self._client.status(workflow)) if self.stored else workflow

    async def _check_outcomes(self) -> None:
        self.ledger.read()
        assert len(self._outcomes) >= self._batch * self.report.strikes
        for workflow, task in self._outcomes.items():
            outcome = task.result()
            assert outcome.status == "completed", outcome
            assert outcome.results["third"] == expected(int(workflow.removeprefix("w-")))
            assert dict(outcome.variables) == dict.fromkeys(STEPS, 1), "a step was committed twice, or not"
            for step in STEPS:
                assert self.ledger.runs[workflow, step] >= 1, f"{step} of {workflow} never ran"
        if self.stored:
            assert await self._client.parked() == []

    async def _check_histories(self) -> None:
        for workflow in self._outcomes:
            hops = [(hop.activity, hop.direction, hop.status) for hop in await self._client.history(workflow)]
            assert hops == [(step, "do", "ok") for step in STEPS], f"{workflow}: {hops}"
            assert (await self._client.status(workflow)).state == "ended"
            assert len(set(self.ledger.ends[workflow])) <= 1, f"{workflow} ended as {self.ledger.ends[workflow]}"

    async def _queues(self, transport: Transport) -> dict[str, QueueStats]:
        """All there are; of a broker that cannot list them, those of the steps."""
        steps = [*STEPS, *map(dead_letter_queue, STEPS)] if self.place.broker == "rabbitmq" else ()
        return await transport.queues(*steps)

    async def _drained(self) -> bool:
        """Nothing ready, in flight, delayed or dead, in any queue."""
        stats = (await self._queues(self.transport)).values()
        if any(each.ready or each.in_flight or each.delayed for each in stats):
            return False
        return await asyncio.to_thread(self.place.remaining, self.namespace) == 0

    async def _check_what_is_left(self) -> None:
        """The broker's own view, when all who worked there are gone."""

        async def unattended() -> bool:
            async with get_transport() as transport:
                return not any(each.consumers for each in (await self._queues(transport)).values())

        async def unconnected() -> bool:
            return await asyncio.to_thread(self.place.connections) == 0

        await self.eventually(unattended, "no orphan consumers")
        await self.eventually(unconnected, "no leaked connections")

    async def _state(self) -> str:
        try:
            queues = {
                name: each
                for name, each in (await self._queues(self.transport)).items()
                if each.ready or each.in_flight
            }
        except TROUBLE as exc:
            queues = {"?": exc}  # type: ignore[dict-item]
        return f"queues {queues}; workers said:\n{self.fleet.said()}"

    def _count(self) -> None:
        report, runs = self.report, self.ledger.runs
        report.workflows, report.runs = len(self._outcomes), runs.total()
        report.repeated = runs.total() - len(runs)
        report.ended_again = sum(len(ends) - 1 for ends in self.ledger.ends.values())
        report.publish()
