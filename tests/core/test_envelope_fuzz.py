"""Whatever the bytes are: a SecurityError, or exactly what was sealed."""

from __future__ import annotations

import asyncio
import copy
import json
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paigeant.envelope import Opened, b64url, open_envelope, unb64url
from paigeant.errors import SecurityError

from .records_kit import LIMIT, NOW, Key, dispatched, done, finished, forgetful, message, signed

SECURITY = signed(Key("a"), Key("b", "auditor"))


@cache
def genuine() -> tuple[Opened, bytes]:
    async def make() -> Opened:
        sealed = await dispatched(SECURITY, variables={"text": "grüße", "deep": [[1]]})
        return await done(await done(sealed, SECURITY), SECURITY, {"k": "v"})

    sealed = asyncio.run(make())
    return sealed, sealed.body


def opened_or_refused(data: bytes) -> None:
    """Both by a fresh process and by one that remembers the genuine chain."""
    for security in (SECURITY, forgetful(SECURITY)):
        try:
            opened = finished(open_envelope(message(data), security, now=NOW, limit=LIMIT))
        except SecurityError:
            continue
        sealed = genuine()[0]
        assert (opened.slip.origin.wf, opened.hops) == (sealed.slip.origin.wf, sealed.hops[: len(opened.hops)])
        assert opened.envelope.records == sealed.envelope.records[: opened.slip.seq + 1]
        blobs = sealed.envelope.blobs
        assert all(blobs.get(digest, data) == data for digest, data in opened.envelope.blobs.items())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), min_size=1, max_size=3))
def test_bit_flips(flips: list[tuple[int, int]]) -> None:
    data = bytearray(genuine()[1])
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    opened_or_refused(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.binary(max_size=6))
def test_cuts_and_insertions(start: int, end: int, new: bytes) -> None:
    data = genuine()[1]
    start, end = sorted((start % len(data), end % len(data)))
    opened_or_refused(data[:start] + new + data[end:])


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["e30", "W10", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def mutated(value: Any, choice: int, how: str, new: Any) -> Any:
    """One place of a JSON value replaced, deleted, or doubled."""
    value = copy.deepcopy(value)
    *path, last = places(value)[1:][choice % (len(places(value)) - 1)]
    parent = value
    for key in path:
        parent = parent[key]
    if how == "delete":
        del parent[last]
    elif how == "double" and isinstance(parent, list):
        parent.insert(last, parent[last])
    elif how == "add" and isinstance(parent, dict):
        parent[str(new)] = new
    else:
        parent[last] = new
    return value


hows = st.sampled_from(["replace", "delete", "double", "add"])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), hows, junk)
def test_frames_of_another_structure(choice: int, how: str, new: Any) -> None:
    frame = mutated(json.loads(genuine()[1]), choice, how, new)
    opened_or_refused(json.dumps(frame).encode())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2), st.integers(0, 10**6), hows, junk)
def test_claims_of_another_structure_signed_with_the_right_keys(at: int, choice: int, how: str, new: Any) -> None:
    """The insider: everything after the signature check must hold by itself."""
    frame = json.loads(genuine()[1])
    record = frame["origin"] if at == 0 else frame["chain"][at - 1]
    claims = mutated(json.loads(unb64url(record["payload"])), choice, how, new)
    record["payload"] = b64url(json.dumps(claims).encode())
    for signature, key in zip(record["signatures"], (Key("a"), Key("b", "auditor")), strict=True):
        raw = finished(key.sign(f"{signature['protected']}.{record['payload']}".encode()))
        signature["signature"] = b64url(raw)
    del frame["chain"][at:]
    for security in (SECURITY, forgetful(SECURITY)):
        try:
            opened = finished(open_envelope(message(json.dumps(frame).encode()), security, now=NOW, limit=LIMIT))
        except SecurityError:
            continue
        assert opened.slip.seq == at
