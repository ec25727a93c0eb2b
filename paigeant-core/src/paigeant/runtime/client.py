"""The client: outcome, status, history, and putting parked workflows back to work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial

from ..abc import StateStore
from ..durations import seconds
from ..envelope.opening import Opened
from ..errors import (
    AudienceMismatch,
    BackendError,
    ConfigurationError,
    EnvelopeFormatError,
    PayloadMissing,
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
from ..routing import Slip, Status, needed_refs
from ..state.cursor import Cursor, State
from ..state.ids import BranchKeys
from .environment import Environment, Face
from .inbox import Inbox
from .moving import make_move
from .notifier import event_id
from .outcome import FaultInfo, HistoryEntry, Outcome, WorkflowStatus, proven_status
from .values import Values, read_history

LOOK = 1.0
"""Seconds for a last look at the store, when the time to wait is over already."""
_WANTED = (Status.COMPLETED, Status.TERMINATED)
_STATES = {State.READY: "ready", State.RUNNING: "running", State.WAITING: "waiting", State.ENDED: "ended"}


class WorkflowClient(Face):
    """Asks about workflows, by correlation id. As ``async with`` it closes what it opened.

    Parameters are those of :class:`WorkflowDispatcher`. Without a state store it must use the very
    transport instance of the dispatcher: outcomes are addressed to that one.
    """

    _receiving = False

    async def result(self, correlation_id: str, *, timeout: timedelta | float | None = None) -> Outcome:
        """Wait for the workflow to end as ``completed``.

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
            else self._ended(env, env.store, keys, correlation_id)
        )
        try:
            async with env.clock.timeout(limit):
                opened, status = await waiting
        except TimeoutError:
            standing = await _standing(env, keys, correlation_id)
            raise ResultTimeout(f"workflow {correlation_id!r} has not ended within {limit:g} s; {standing}") from None
        if opened is None:
            return Outcome(correlation_id, status)
        _check_proof(opened, correlation_id, status, env.now())
        return await _outcome(env, opened, keys, status)

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
        """The committed hops, oldest first: for people; the signed records decide.

        A worker that lost its lease may have left a second entry of a hop. It is left out unless
        the store holds nothing that tells the two apart.

        :raises StoreRequired: no state store is configured.
        """
        env, store = await self._stored("history")
        keys = BranchKeys.of(check_correlation_id(correlation_id))
        entries: dict[str, HistoryEntry] = {}
        after = ""
        while batch := await store.scan(keys.histories, after=after, limit=200):
            for entry in batch:
                facts = read_history(entry.value)[0]
                if facts.keys() == HistoryEntry.__dataclass_fields__.keys():
                    entries[entry.key] = HistoryEntry(**facts)
            after = batch[-1].key
        if len({entry.seq for entry in entries.values()}) == len(entries):
            return list(entries.values())
        # A worker that had lost its lease left an entry of a record that was never committed.
        return await _committed(env, store, keys, entries)

    async def watch(self, correlation_id: str) -> AsyncIterator[WorkflowStatus]:
        """The status now and after each change, until the workflow has ended.

        :raises WorkflowNotFound: no such workflow.
        :raises StoreRequired: no state store is configured.
        """
        _, store = await self._stored("following a workflow")
        keys = BranchKeys.of(check_correlation_id(correlation_id))
        async with aclosing(store.watch(keys.cursor)) as changes:
            async for _ in changes:
                status = await self.status(correlation_id)
                yield status
                if status.state == "ended":
                    return

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

    async def _ended(
        self, env: Environment, store: StateStore, keys: BranchKeys, correlation_id: str
    ) -> tuple[Opened | None, str]:
        ended = await _terminal_state(store, keys, correlation_id)
        result = await store.get(keys.result(ended.nonce))
        if result is None and ended.outcome == "expired":
            return None, ended.outcome  # It ended in a queue that nobody serves; only the broker holds its envelope.
        if result is None:
            raise ResultExpired(f"workflow {correlation_id!r} ended as {ended.outcome}; its results were cleaned up")
        return await env.open_final(result.value), ended.outcome

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


async def _terminal_state(store: StateStore, keys: BranchKeys, correlation_id: str) -> Cursor:
    async with aclosing(store.watch(keys.cursor)) as changes:
        async for entry in changes:
            if entry is None:
                break
            cursor = Cursor.decode(entry.value)
            if cursor.state is State.ENDED:
                return cursor
    raise _not_found(correlation_id)


async def _committed(
    env: Environment, store: StateStore, keys: BranchKeys, entries: Mapping[str, HistoryEntry]
) -> list[HistoryEntry]:
    """The entries of the records in the chain, which is the truth.

    Where only the broker holds the envelope, the cursor knows its last record.
    """
    entry = await store.get(keys.cursor)
    if entry is None:
        return list(entries.values())
    cursor = Cursor.decode(entry.value)
    result = await store.get(keys.result(cursor.nonce)) if cursor.state is State.ENDED else None
    envelope = result.value if result is not None else cursor.out
    known = {cursor.seq - 1: keys.history(cursor.seq - 1, cursor.head)} if cursor.head and cursor.seq else {}
    if envelope:
        opened = await env.open_final(envelope)
        known = {hop.seq: keys.history(hop.seq, opened.heads(hop.seq + 1)) for hop in opened.hops}
    return [one for key, one in entries.items() if one.seq < cursor.seq and known.get(one.seq, key) == key]


async def _cursor(store: StateStore, keys: BranchKeys, correlation_id: str) -> tuple[Cursor, int]:
    entry = await store.get(keys.cursor)
    if entry is None:
        raise _not_found(correlation_id)
    return Cursor.decode(entry.value), entry.revision


async def _standing(env: Environment, keys: BranchKeys, correlation_id: str) -> str:
    """What to tell one who has waited in vain."""
    if env.store is None:
        return "it goes on; without a state store only the transport instance that dispatched it can ask again"
    with suppress(BackendError, TimeoutError):
        async with env.clock.timeout(LOOK):
            cursor, _ = await _cursor(env.store, keys, correlation_id)
        if cursor.parked:
            return f"it is parked ({cursor.parked}) until: paigeant workflows resume {correlation_id}"
    return f"it goes on: ask again; look at `paigeant workflows status {correlation_id}`"


def _not_found(correlation_id: str) -> WorkflowNotFound:
    return WorkflowNotFound(
        f"no workflow {correlation_id!r} here; check the id, PAIGEANT_TRANSPORT and PAIGEANT_NAMESPACE"
    )


def _check_proof(opened: Opened, correlation_id: str, status: str, now: float) -> None:
    """Whoever writes to the store chooses what lies under a key, but not what it proves."""
    found, signed = opened.slip.origin.wf, proven_status(opened, now)
    if found != correlation_id:
        raise AudienceMismatch(
            f"the outcome that the store keeps for workflow {correlation_id!r} is signed for {found!r}; find out who "
            "else writes to the store: what it says of this workflow cannot be trusted"
        )
    if signed != status:
        raise WorkflowError(
            f"workflow {found!r}: the store says {status!r}, its signed records say {signed or 'unfinished'!r}"
        )


async def _outcome(env: Environment, opened: Opened, keys: BranchKeys, status: str) -> Outcome:
    slip = opened.slip
    values = Values(env, opened, keys)
    names = {hop.step: hop.act for hop in opened.hops}
    gone = await _gone(env, slip, values)
    return Outcome(
        slip.origin.wf,
        status,
        {
            name: values.plain(ref)
            for step, ref in slip.results.items()
            if ref.h not in gone
            for name in _result_names(step, names)
        },
        {name: values.plain(ref) for name, ref in slip.variables.items() if ref.h not in gone},
        _fault(opened),
        tuple(names.get(step, step) for step in slip.undone),
        tuple(names.get(step, step) for step in slip.undo_failed),
        # What a completed or terminated workflow has registered was never to be undone.
        () if status in _WANTED else tuple(undo.step.act for undo in reversed(slip.to_undo)),
        tuple(step.act for step in slip.discarded),
    )


async def _gone(env: Environment, slip: Slip, values: Values) -> set[str]:
    """Brings the values of an outcome to hand; returns the digests of those that are nowhere, as they may be.

    Where there is no store, what left the message is nowhere; a store keeps values until the workflow has expired.

    :raises PayloadMissing: one is gone that the message must carry, or the store still keep.
    """
    gone = {ref.h for ref in await values.fetch_any((*slip.results.values(), *slip.variables.values()))}
    lost = gone.intersection(ref.h for ref in needed_refs(slip))
    if lost and (env.store is None or env.now() < slip.origin.exp):
        raise PayloadMissing(
            f"the outcome of workflow {slip.origin.wf!r} lacks {len(lost)} of the values it was signed with; the "
            "broker or the store has lost them, or somebody took them out: look up elsewhere what the workflow did"
        )
    return gone


def _result_names(step: str, names: dict[str, str]) -> tuple[str, ...]:
    """A result is found by its activity's name; by its step's id, too, if the caller chose that."""
    activity = names.get(step, step)
    return (activity,) if step.isdigit() else (activity, step)


def _fault(opened: Opened) -> FaultInfo | None:
    fault = opened.slip.fault
    if fault is None:
        return None
    try:
        text = str(json.loads(opened.envelope.blobs.get(fault.text, b'""')))
    except (ValueError, RecursionError) as exc:
        raise EnvelopeFormatError(
            f"workflow {opened.slip.origin.wf!r}: the error text of activity {fault.activity!r} (step {fault.step!r}) "
            "is no JSON; no worker of Paigeant writes that: find out who else holds a key that may run this step"
        ) from exc
    return FaultInfo(fault.activity, fault.step, fault.error, text)
