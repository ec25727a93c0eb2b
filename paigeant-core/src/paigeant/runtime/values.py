"""Reading and writing the values that records refer to: in the message, in the store, or in history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from msgspec.json import encode

from ..envelope.digest import sha
from ..errors import PayloadMismatch, PayloadMissing, SerializationError
from .patience import patiently

if TYPE_CHECKING:
    from ..envelope.opening import Opened
    from ..model.records import Hop, ValueRef
    from ..state.ids import BranchKeys
    from .environment import Environment

CLAIM_CHECK = 64 * 1024
"""Values over this many bytes are stored aside (EIP "Claim Check") where there is a store."""


class Values:
    """The values of one workflow, by reference."""

    def __init__(self, env: Environment, opened: Opened, keys: BranchKeys) -> None:
        self._env, self._opened, self._keys = env, opened, keys
        self._loaded: dict[str, bytes] = {}

    def here(self, ref: ValueRef) -> bool:
        """Whether the bytes are at hand without I/O."""
        return ref.h in self._opened.envelope.blobs or ref.h in self._loaded

    def plain(self, ref: ValueRef) -> Any:
        """Decode a value that is at hand.

        :raises PayloadMissing: it is not.
        """
        data = self._opened.envelope.blobs.get(ref.h, self._loaded.get(ref.h))
        if data is None:
            raise PayloadMissing(f"the value {ref.h} ({ref.n} bytes) is not in the message")
        return self._env.codecs.decode(ref, data)

    async def fetch(self, refs: Iterable[ValueRef]) -> None:
        """Bring values to hand; a trouble of the store is waited out.

        :raises PayloadMissing: one is neither in the message nor in the store.
        :raises PayloadMismatch: the stored bytes are not those that were signed.
        """
        for ref in await self.fetch_any(refs):
            raise PayloadMissing(f"the value {ref.h} ({ref.n} bytes) is neither in the message nor in the store")

    async def fetch_any(self, refs: Iterable[ValueRef]) -> list[ValueRef]:
        """Like ``fetch``; returns those that are nowhere. Reads all at once, for stores batch."""
        missing = [ref for ref in refs if not self.here(ref)]
        if not missing or self._env.store is None:
            return missing
        stored = await asyncio.gather(*map(self._stored, missing))
        for ref, data in zip(missing, stored, strict=True):
            if data is None:
                continue
            if len(data) != ref.n or sha(data) != ref.h:
                raise PayloadMismatch(f"the stored value {ref.h} does not match its signed digest")
            self._loaded[ref.h] = data
        return [ref for ref, data in zip(missing, stored, strict=True) if data is None]

    async def load(self, ref: ValueRef) -> Any:
        """Fetch and decode one value."""
        await self.fetch((ref,))
        return self.plain(ref)

    async def _stored(self, ref: ValueRef) -> bytes | None:
        store = self._env.store
        if store is None:
            return None
        keys = [self._keys.blob(ref.h)]
        keys += [
            self._keys.history(hop.seq, self._opened.heads(hop.seq + 1))
            for hop in self._opened.hops
            if hop.out is not None and hop.out.h == ref.h
        ]
        for key in reversed(keys):
            entry = await patiently(partial(store.get, key), self._env.clock, "reading a value")
            if entry is not None:
                value = entry.value if key.startswith("blob/") else read_history(entry.value)[1]
                if value or not ref.n:
                    return value
        return None


class Outbox:
    """The new values of one transition: small ones travel, large ones are stored aside."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.blobs: dict[str, bytes] = {}
        self._apart: set[str] = set()

    def add(self, plain: Any, what: str) -> ValueRef:
        """Encode a value that pydantic made plain; the reference goes into a record.

        :raises SerializationError: the codec cannot carry it; names ``what`` it is.
        """
        try:
            ref, data = self._env.codecs.encode(plain)
        except SerializationError as exc:
            raise SerializationError(f"{what}: {exc}") from exc
        self.blobs[ref.h] = data
        return ref

    def add_text(self, text: str) -> str:
        """Add the text of an error; returns its digest."""
        data = json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")
        digest = sha(data)
        self.blobs[digest] = data
        return digest

    def text(self, digest: str) -> str:
        """A text that was added."""
        return str(json.loads(self.blobs[digest]))

    def aside(self) -> frozenset[str]:
        """Digests of the values that are too large to travel where there is a store."""
        return frozenset(h for h, data in self.blobs.items() if len(data) > CLAIM_CHECK or h in self._apart)

    def put_aside(self, digest: str) -> None:
        """Do not let this value travel where there is a store, although it is small: the message is full."""
        self._apart.add(digest)

    def without(self, digests: frozenset[str]) -> dict[str, bytes]:
        """The values that travel."""
        if not digests:
            return self.blobs
        return {digest: data for digest, data in self.blobs.items() if digest not in digests}


def write_history(hop: Hop, *, worker: str, started: float, finished: float, out: bytes) -> bytes:
    """One committed hop for people, and its result, which may leave the message now."""
    head = {
        "seq": hop.seq,
        "step": hop.step,
        "activity": hop.act,
        "direction": hop.dir,
        "status": hop.st,
        "attempt": hop.att,
        "worker": worker,
        "started": round(started, 4),
        "finished": round(finished, 4),
    }
    return encode(head) + b"\n" + out


def read_history(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The inverse: the facts, and the bytes of the result (empty if stored aside). Anything else has no facts."""
    head, _, out = data.partition(b"\n")
    try:
        facts: object = json.loads(head)
    except (ValueError, RecursionError):
        facts = None
    return (cast("dict[str, Any]", facts) if isinstance(facts, dict) else {}), out
