"""The client: outcome, status, history, and putting parked workflows back to work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial

from msgspec import ValidationError, convert

from ..abc import StateStore
from ..durations import seconds
from ..envelope.opening import Opened
from ..errors import (
    BackendError,
    ConfigurationError,
    ResultExpired,
    ResultTimeout,
    RevisionConflict,
    StoreRequired,
    WorkflowError,
    WorkflowFailed,
    WorkflowNotFound,
)
from ..model.events import WorkflowResumed
from ..model.names import check_correlation_id
from ..model.store import Entry
from ..state.cursor import Cursor, State
from ..state.ids import BranchKeys
from .environment import Environment, Face
from .inbox import Inbox
from .moving import make_move
from .notifier import event_id
from .outcome import HistoryEntry, Outcome, WorkflowStatus, proven_status
from .patience import patiently
from .reading import check_proof, committed, kept_envelope, read_outcome
from .standing import last_look, standing
from .values import read_history

_STATES = {State.READY: "ready", State.RUNNING: "running", State.WAITING: "waiting", State.ENDED: "ended"}


class WorkflowClient(Face):
    """Asks about workflows, by correlation id. As ``async with`` it closes what it opened.

    Parameters are those of :class:`WorkflowDispatcher`. Without a state store it must use the very
    transport instance of the dispatcher: outcomes are addressed to that one.
    """

    _receiving = False

    async def result(self, correlation_id: str, *, timeout: timedelta | float | None = None) -> Outcome:
        """Wait for the workflow to end as ``completed``, through outages of the broker or store.

        :param timeout: a timedelta or seconds; default for ever. A workflow ends by its expiry, but
            only while some worker runs in its namespace.
        :raises WorkflowFailed: it ended otherwise; ``outcome`` tells how.
        :raises ResultTimeout: it has not ended by then; it goes on, unless it is parked, as the text then says.
        :raises WorkflowNotFound: no such workflow.
        :raises ResultExpired: it ended long ago.
        :raises SecurityError: what is kept as its outcome must not be trusted.
        :raises ConfigurationError: the timeout is neither.
        """
        outcome = await self.outcome(correlation_id, timeout=timeout)
        if outcome.status != "completed":
            raise WorkflowFailed(str(outcome), outcome)
        return outcome

    async def outcome(self, correlation_id: str, *, timeout: timedelta | float | None = None) -> Outcome:
        """Like :meth:`result`, but any end is an answer."""
        limit = None if timeout is None else seconds(timeout)
        if limit is None and timeout is not None:
            raise ConfigurationError(f"timeout={timeout!r} must be a timedelta or seconds")
        env = await self._session.open()
        keys = BranchKeys.of(check_correlation_id(correlation_id))
        waiting = (
            self._replied(env, correlation_id)
            if env.store is None
            else patiently(
                self._ended, env.clock, f"outcome of {correlation_id!r}", env, env.store, keys, correlation_id
            )
        )
        try:
            async with env.clock.timeout(limit):
                opened, status = await waiting
        except TimeoutError:
            text = await self._standing(env, correlation_id)
            raise ResultTimeout(f"workflow {correlation_id!r} has not ended within {limit:g} s; {text}") from None
        if opened is None:
            return Outcome(correlation_id, status)
        check_proof(opened, correlation_id, status, env.now())
        return await read_outcome(env, opened, keys, status)

    async def status(self, correlation_id: str) -> WorkflowStatus:
        """Where the workflow stands now.

        :raises WorkflowNotFound: no such workflow.
        :raises StoreRequired: no state store is configured.
        """
        env, store = await self._stored("status")
        keys = BranchKeys.of(check_correlation_id(correlation_id))
        cursor, _ = await _cursor(store, keys, correlation_id)
        consumers = None
        if cursor.queue and cursor.state is not State.ENDED:
            with suppress(BackendError, ConfigurationError):  # who may not look at queues learns the rest
                consumers = (await env.transport.queues(cursor.queue))[cursor.queue].consumers
        return WorkflowStatus(
            correlation_id,
            "parked" if cursor.parked else _STATES[cursor.state],
            cursor.seq,
            cursor.attempt,
            cursor.queue,
            cursor.outcome,
            cursor.parked,
            cursor.until,
            consumers,
        )

    async def history(self, correlation_id: str) -> list[HistoryEntry]:
        """The committed hops, oldest first, for people: what ran, and how it ended, is read from the signed
        records, unless only the broker holds them.

        An entry may be of a record that was never committed, by a worker that has lost its lease or is about to
        commit. It is left out unless the store holds nothing that tells the two apart.

        :raises StoreRequired: no state store is configured.
        :raises SecurityError: the records that the store keeps must not be trusted.
        """
        env, store = await self._stored("history")
        keys = BranchKeys.of(check_correlation_id(correlation_id))
        entries: dict[str, HistoryEntry] = {}
        after = ""
        while batch := await store.scan(keys.histories, after=after, limit=200):
            for entry in batch:
                with suppress(ValidationError):
                    entries[entry.key] = convert(read_history(entry.value)[0], HistoryEntry)
            after = batch[-1].key
        return await committed(env, store, correlation_id, entries)

    async def watch(self, correlation_id: str) -> AsyncIterator[WorkflowStatus]:
        """The status now and after each change, until the workflow has ended; waits through an outage of the store.

        :raises WorkflowNotFound: no such workflow.
        :raises StoreRequired: no state store is configured.
        """
        env, store = await self._stored("following a workflow")
        keys = BranchKeys.of(check_correlation_id(correlation_id))
        what, seen, status = f"following workflow {correlation_id!r}", tuple[Entry | None, ...](), None
        while status is None or status.state != "ended":
            seen = (await patiently(_change, env.clock, what, store, keys.cursor, seen),)
            status = await patiently(self.status, env.clock, what, correlation_id)
            yield status

    async def parked(self, *, limit: int = 100) -> list[WorkflowStatus]:
        """Workflows that stand still until someone resumes them.

        :raises StoreRequired: no state store is configured.
        """
        _, store = await self._stored("parked")
        found: list[WorkflowStatus] = []
        after = ""
        while len(found) < limit and (batch := await store.scan("parked/", after=after, limit=limit)):
            for entry in batch:
                after = entry.key
                workflow, _, branch = entry.key.removeprefix("parked/").rpartition("-")
                keys = BranchKeys(workflow, branch)
                current = await store.get(keys.cursor)
                cursor = Cursor.decode(current.value) if current else None
                if cursor is None or cursor.state is State.ENDED:
                    await _unlist(store, entry)
                if cursor is None or not cursor.parked:
                    continue  # A worker that is about to park it lists it first.
                wf = _parked_workflow(entry.value)
                found.append(WorkflowStatus(wf, "parked", cursor.seq, cursor.attempt, cursor.queue, "", cursor.parked))
        return found[:limit]

    async def resume(self, correlation_id: str) -> None:
        """Put a parked workflow back to work at the step where it stands, with fresh attempts.

        :raises WorkflowError: it is not parked.
        :raises WorkflowNotFound: no such workflow.
        :raises StoreRequired: no state store is configured.
        :raises BackendUnavailable: the broker or store is not reached, or refuses; it stands as it stood.
        """
        env, store = await self._stored("resume")
        keys = BranchKeys.of(check_correlation_id(correlation_id))
        listed = await store.get(keys.parked)  # before the move: it may soon be parked again, and listed anew
        cursor, revision = await _cursor(store, keys, correlation_id)
        if not cursor.parked:
            raise WorkflowError(f"workflow {correlation_id!r} is not parked; it is {_STATES[cursor.state]}")
        try:
            await make_move(env, store, keys, env.rules.resume(cursor, env.now()), revision)
        except RevisionConflict:
            raise WorkflowError(f"workflow {correlation_id!r} was changed by someone else just now") from None
        if listed is not None:
            await _unlist(store, listed)
        if env.notifier:
            event = event_id(keys.hop_id(cursor.seq), WorkflowResumed, cursor.gen)
            await env.notifier.tell(WorkflowResumed(event, correlation_id, env.now()))

    async def _stored(self, what: str) -> tuple[Environment, StateStore]:
        env = await self._session.open()
        if env.store is None:
            raise StoreRequired(f"{what} needs a state store: configure one (PAIGEANT_STATE_STORE)")
        return env, env.store

    async def _standing(self, env: Environment, correlation_id: str) -> str:
        status = None if env.store is None else await last_look(self.status(correlation_id), env.clock)
        return standing(correlation_id, status, scope=env.transport.scope, stored=env.store is not None)

    async def _ended(
        self, env: Environment, store: StateStore, keys: BranchKeys, correlation_id: str
    ) -> tuple[Opened | None, str]:
        ended = await _terminal_state(store, keys, correlation_id)
        envelope = await kept_envelope(env, store, keys, ended)
        if envelope:
            return await env.open_final(envelope), ended.outcome
        if ended.outcome == "expired" and env.mode == "shared":
            return None, ended.outcome  # It ended in a queue that nobody serves; only the broker holds its envelope.
        raise ResultExpired(
            f"workflow {correlation_id!r} ended as {ended.outcome}, by what the store says; its results, and what "
            "proves that, were cleaned up"
        )

    async def _replied(self, env: Environment, correlation_id: str) -> tuple[Opened | None, str]:
        """Without a store: the signed final envelope comes to the inbox that was named in the origin."""
        inbox = Inbox.of(env)
        if not self._receiving:
            self._receiving = True
            inbox.join(env)
            self._session.on_close(partial(self._leave, inbox, env))
        opened = await inbox.wait(env, correlation_id)
        return opened, proven_status(opened, env.now())

    async def _leave(self, inbox: Inbox, env: Environment) -> None:
        self._receiving = False
        await inbox.leave(env)


async def _unlist(store: StateStore, listed: Entry) -> None:
    """Delete an index entry of a parked workflow, unless it has been written anew."""
    with suppress(RevisionConflict):
        await store.delete(listed.key, expected=listed.revision)


def _parked_workflow(note: bytes) -> str:
    try:
        return str(json.loads(note)["workflow"])
    except (ValueError, KeyError, TypeError):
        return ""


async def _change(store: StateStore, key: str, seen: tuple[Entry | None, ...]) -> Entry | None:
    """The entry, as soon as it is another than the last one seen."""
    async with aclosing(store.watch(key)) as changes:
        async for entry in changes:
            if (entry,) != seen:
                return entry
    return None


async def _terminal_state(store: StateStore, keys: BranchKeys, correlation_id: str) -> Cursor:
    async with aclosing(store.watch(keys.cursor)) as changes:
        async for entry in changes:
            if entry is None:
                break
            cursor = Cursor.decode(entry.value)
            if cursor.state is State.ENDED:
                return cursor
    raise _not_found(correlation_id)


async def _cursor(store: StateStore, keys: BranchKeys, correlation_id: str) -> tuple[Cursor, int]:
    entry = await store.get(keys.cursor)
    if entry is None:
        raise _not_found(correlation_id)
    return Cursor.decode(entry.value), entry.revision


def _not_found(correlation_id: str) -> WorkflowNotFound:
    return WorkflowNotFound(
        f"no workflow {correlation_id!r} here; check the id, PAIGEANT_TRANSPORT and PAIGEANT_NAMESPACE"
    )
