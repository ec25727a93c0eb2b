"""Verified envelopes, and the memory of those this process has verified or made.

The digest of a record covers its payload, its signatures and, through ``prev``, everything before it.
So a known digest is a chain that this process has verified under this policy, byte for byte, and the
next hop of a workflow verifies only what is new. A worker that receives what it has sealed itself,
again byte for byte, need not even parse it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.records import Hop
from ..routing import Slip
from .frame import Envelope, Record

_MAX_ENTRIES = 512
_MAX_SIZE = 16 * 1024
_MAX_POLICIES = 16


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified envelope: what it says, and the records that say it."""

    envelope: Envelope
    slip: Slip
    hops: tuple[Hop, ...]

    @property
    def tip(self) -> str:
        """Digest of the last record, signatures included: ``prev`` of the next one."""
        return self._last.digest

    @property
    def head(self) -> str:
        """Digest of the payload of the last record: what a cursor remembers."""
        return self._last.head

    def heads(self, position: int) -> str:
        """Payload digest of the record at ``position``: 0 is the origin, ``n`` the hop of ``seq`` n-1.

        :raises IndexError: there is none.
        """
        return self.envelope.origin.head if position == 0 else self.envelope.chain[position - 1].head

    @property
    def _last(self) -> Record:
        return self.envelope.chain[-1] if self.envelope.chain else self.envelope.origin


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """Records that are authentic and follow from each other, and what they mean."""

    records: tuple[Record, ...]
    hops: tuple[Hop, ...]
    slip: Slip

    def opened(self, blobs: Mapping[str, bytes], ext: Mapping[str, Any]) -> Opened:
        """Together with values that are verified, too."""
        return Opened(Envelope(self.records[0], self.records[1:], blobs, ext), self.slip, self.hops)


class Verified:
    """The latest verified chains and sealed bodies of one process; bounded, the oldest give way."""

    def __init__(self) -> None:
        self._chains: dict[str, VerifiedChain] = {}
        self._sealed: dict[bytes, Opened] = {}
        self._policies: set[str] = set()

    def longest(self, records: Sequence[Record]) -> VerifiedChain | None:
        """The longest known chain that these records begin with."""
        for count in range(len(records), 0, -1):
            chain = self._chains.get(records[count - 1].digest)
            if chain is not None and chain.records == tuple(records[:count]):
                return chain
        return None

    def add(self, chain: VerifiedChain) -> None:
        """Remember it. Unusually large records are not kept."""
        if len(chain.records[-1].payload) > _MAX_SIZE:
            return
        self._chains[chain.records[-1].digest] = chain
        if len(self._chains) > _MAX_ENTRIES:
            del self._chains[next(iter(self._chains))]

    def is_news(self, policy: str) -> bool:
        """Whether this foreign policy digest is met for the first time (of the first few)."""
        news = policy not in self._policies and len(self._policies) < _MAX_POLICIES
        if news:
            self._policies.add(policy)
        return news

    def recall(self, body: bytes) -> Opened | None:
        """What this process has sealed as exactly these bytes. Told once: it is rarely received again."""
        return self._sealed.pop(body, None)

    def sealed(self, sealed: Opened) -> None:
        """Remember it. Unusually large bodies are not kept."""
        body = sealed.envelope.body
        if len(body) > _MAX_SIZE:
            return
        self._sealed[body] = sealed
        if len(self._sealed) > _MAX_ENTRIES:
            del self._sealed[next(iter(self._sealed))]
