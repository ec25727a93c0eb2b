"""From the signed records of a workflow to what they say: its outcome, its history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from ..abc import StateStore
from ..envelope.opening import Opened
from ..errors import AudienceMismatch, EnvelopeFormatError, PayloadMissing, WorkflowError
from ..model.records import Hop
from ..routing import Slip, Status, needed_refs
from ..state.cursor import Cursor, State
from ..state.ids import BranchKeys
from .environment import Environment
from .outcome import FaultInfo, HistoryEntry, Outcome, proven_status
from .values import Values

_WANTED = (Status.COMPLETED, Status.TERMINATED)


def check_proof(opened: Opened, correlation_id: str, status: str, now: float) -> None:
    """Whoever writes to the store chooses what lies under a key, but not what it proves.

    :raises AudienceMismatch: it is the end of another workflow.
    :raises WorkflowError: its records prove another status.
    """
    _check_workflow(opened, correlation_id, "outcome")
    signed = proven_status(opened, now)
    if signed != status:
        raise WorkflowError(
            f"workflow {correlation_id!r}: the store says {status!r}, its signed records say "
            f"{signed or 'unfinished'!r}; find out who else writes to the store"
        )


async def kept_envelope(env: Environment, store: StateStore, keys: BranchKeys, cursor: Cursor) -> bytes:
    """The envelope that the store keeps beside a cursor; empty if only the broker holds it."""
    if cursor.state is not State.ENDED:
        return cursor.out
    result = await store.get(keys.result(cursor.nonce))
    if result is None and cursor.outcome == "expired" and env.mode == "shared":
        # There is none of what expired in a queue that nobody serves; or somebody has put that tombstone in the place
        # of another, whose envelope may still be there.
        result = next(iter(await store.scan(keys.results, limit=1)), None)
    return b"" if result is None else result.value


async def committed(
    env: Environment, store: StateStore, correlation_id: str, entries: Mapping[str, HistoryEntry]
) -> list[HistoryEntry]:
    """The entries, by key, of the records in the chain, which is the truth.

    Where only the broker holds the envelope, the cursor knows its last record.

    :raises SecurityError: the envelope must not be trusted.
    """
    keys = BranchKeys.of(correlation_id)
    entry = await store.get(keys.cursor)
    if entry is None:
        return list(entries.values())
    cursor = Cursor.decode(entry.value)
    if envelope := await kept_envelope(env, store, keys, cursor):
        opened = await env.open_final(envelope)
        _check_workflow(opened, correlation_id, "history")
        found = ((hop, entries.get(keys.history(hop.seq, opened.heads(hop.seq + 1)))) for hop in opened.hops)
        return [_signed(entry, hop) for hop, entry in found if entry is not None]
    known = {cursor.seq - 1: keys.history(cursor.seq - 1, cursor.head)} if cursor.head and cursor.seq else {}
    return [one for key, one in entries.items() if one.seq < cursor.seq and known.get(one.seq, key) == key]


def _signed(entry: HistoryEntry, hop: Hop) -> HistoryEntry:
    """Only which worker it was, and when, is nowhere else than in the entry."""
    return replace(
        entry, seq=hop.seq, step=hop.step, activity=hop.act, direction=hop.dir, status=hop.st, attempt=hop.att
    )


def _check_workflow(opened: Opened, correlation_id: str, what: str) -> None:
    found = opened.slip.origin.wf
    if found != correlation_id:
        raise AudienceMismatch(
            f"the {what} that the store keeps for workflow {correlation_id!r} is signed for {found!r}; find out who "
            "else writes to the store: what it says of this workflow cannot be trusted"
        )


async def read_outcome(env: Environment, opened: Opened, keys: BranchKeys, status: str) -> Outcome:
    """What the records of an ended workflow say, with the values that are left.

    :raises PayloadMissing: one is gone that must be there.
    :raises EnvelopeFormatError: the text of its fault is not readable.
    """
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
