"""The cursor and what is decided by it: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from paigeant.errors import BackendCorrupt
from paigeant.state.cursor import Cursor, State
from paigeant.state.decision import Action, decide
from paigeant.state.ids import BranchKeys, digest_of, idempotency_key
from paigeant.state.transitions import BROKER_DELAY, MAX_CRASHES, Move, Rules

TEXT = st.text(max_size=20)
COUNT = st.integers(0, 2**40)
CURSORS = st.builds(
    Cursor,
    seq=COUNT,
    state=st.sampled_from(State),
    head=TEXT,
    queue=TEXT,
    gen=COUNT,
    sends=COUNT,
    attempt=st.integers(1, 1000),
    crashes=st.integers(0, 10),
    owner=TEXT,
    parked=TEXT,
    until=st.floats(0, 1e12),
    outcome=TEXT,
    content=TEXT,
    nonce=TEXT,
    exp=COUNT,
    out=st.binary(max_size=50),
)
NOW = 1_800_000_000.0


@given(CURSORS)
def test_a_cursor_survives_its_encoding(cursor: Cursor) -> None:
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.binary(max_size=80) | CURSORS.map(lambda cursor: cursor.encode()[1:]))
def test_anything_else_is_corrupt_and_never_another_error(data: bytes) -> None:
    try:
        Cursor.decode(data)
    except BackendCorrupt:
        return
    assert data.startswith(b"[")


def test_every_member_is_written() -> None:
    changed = Cursor(1, State.WAITING, "h", "q", 2, 3, 4, 5, "o", "p", 6.0, "e", "c", "n", 7, b"out")
    assert all(one != other for one, other in zip(astuple(changed), astuple(Cursor()), strict=True))
    assert Cursor.decode(changed.encode()) == changed


def heads(of: str = "") -> object:
    return lambda position: f"{of}head-{position}"


@given(cursor=CURSORS, seq=st.integers(0, 5), at=st.integers(0, 5))
def test_no_decision_runs_what_is_over_owned_or_parked(cursor: Cursor, seq: int, at: int) -> None:
    cursor = cursor.next(seq=at, head=f"head-{at}")
    action = decide(cursor, seq, heads(), NOW, 5.0).action  # type: ignore[arg-type]
    if action is Action.RUN:
        assert seq == at
        assert cursor.state in (State.READY, State.WAITING)
        assert not (cursor.state is State.WAITING and (cursor.parked or cursor.until > NOW))
    if cursor.state is State.ENDED or seq < at:
        assert action in (Action.DROP, Action.RESEND)
    if action is Action.RESEND:
        assert (seq, cursor.state) == (at - 1, State.READY)
    assert (action is Action.ADOPT) == (cursor.state is not State.ENDED and seq > at)


@given(cursor=CURSORS, seq=st.integers(0, 5), at=st.integers(0, 5))
def test_another_history_is_a_fork_unless_it_is_old(cursor: Cursor, seq: int, at: int) -> None:
    cursor = cursor.next(seq=at, head=f"head-{at}")
    action = decide(cursor, seq, heads("other "), NOW, 5.0).action  # type: ignore[arg-type]
    forked = cursor.state is not State.ENDED and seq >= at
    assert (action is Action.FORK) == forked


@pytest.mark.parametrize("separate", [True, False])
@given(cursor=CURSORS, delay=st.floats(0, 1e6), counted=st.booleans())
def test_no_move_leaves_a_branch_without_a_message_or_a_due(
    separate: bool, cursor: Cursor, delay: float, counted: bool
) -> None:
    rules, body = Rules(separate=separate), b"envelope"
    cursor = cursor.next(exp=int(NOW) + 60, out=body)
    moves: list[Move] = [
        rules.start(head="h", queue="q", body=body, content="c", exp=cursor.exp, now=NOW),
        rules.forward(cursor, seq=cursor.seq + 1, head="h", queue="q", body=body, now=NOW),
        rules.retry(cursor, delay=delay, counted=counted, body=body, now=NOW),
        rules.park(cursor, reason="why", body=body),
        rules.resume(cursor, NOW),
    ]
    if separate:
        moves += [
            rules.claim(cursor, owner="me", lease=30.0, now=NOW),
            rules.release(cursor, NOW),
            rules.take_over(cursor, NOW),
            rules.resend(cursor, NOW),
        ]
    for move in moves:
        assert move.due is not None or move.send is not None
        assert move.due is not None, "nobody may serve the queue: then somebody ends it when it has expired"
        assert move.due >= cursor.exp or move.cursor.out == body, "who looks before must have something to send"
        assert not separate or move.cursor.out == body, "in separate mode a message may always be lost"
        assert move.cursor.gen >= (cursor.gen if move.cursor.seq == cursor.seq else 0) or move is moves[0]
        assert move.send is None or move.send.delay <= BROKER_DELAY


@given(CURSORS)
def test_too_many_dead_owners_are_poison(cursor: Cursor) -> None:
    move = Rules(separate=True).take_over(cursor.next(parked="", exp=int(NOW) + 60), NOW)
    assert move.cursor.crashes == cursor.crashes + 1
    assert (move.cursor.parked == "poison") == (cursor.crashes + 1 >= MAX_CRASHES)


PARTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9), max_size=4)


@given(PARTS, PARTS)
def test_ids_are_equal_only_for_equal_parts(one: list[str], other: list[str]) -> None:
    assert (digest_of(*one) == digest_of(*other)) == ((one or [""]) == (other or [""]))


def test_every_id_of_a_branch_is_different() -> None:
    keys = [BranchKeys.of("a"), BranchKeys.of("b")]
    ids = [each.message_id(seq, gen) for each in keys for seq in range(9) for gen in range(9)]
    ids += [each.hop_id(seq) for each in keys for seq in range(9)]
    ids += [idempotency_key(wf, "0", step, way) for wf in "ab" for step in "12" for way in ("do", "undo")]
    assert len(set(ids)) == len(ids)
    assert BranchKeys.from_cursor_key(keys[0].cursor) == keys[0]
    assert BranchKeys.from_cursor_key(keys[0].result("nonce")) is None
