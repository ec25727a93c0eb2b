"""Chains that were verified, remembered: the next hop of a workflow verifies only what is new.

The digest of a record covers its payload, its signatures and, through ``prev``, everything before it.
So a known digest is a chain that this process has verified under this policy, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.records import Hop
from ..routing import Slip
from .frame import Record

_MAX_CHAINS = 512
_MAX_PAYLOAD = 16 * 1024


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """Records that are authentic and follow from each other, and what they mean."""

    records: tuple[Record, ...]
    hops: tuple[Hop, ...]
    slip: Slip


class VerifiedChains:
    """The latest verified chains, by the digest of their last record; bounded."""

    def __init__(self) -> None:
        self._chains: dict[str, VerifiedChain] = {}

    def longest(self, records: Sequence[Record]) -> VerifiedChain | None:
        """The longest known chain that these records begin with."""
        for count in range(len(records), 0, -1):
            chain = self._chains.get(records[count - 1].digest)
            if chain is not None and chain.records == tuple(records[:count]):
                return chain
        return None

    def add(self, chain: VerifiedChain) -> None:
        """Remember it; the oldest gives way. Unusually large records are not kept."""
        if len(chain.records[-1].payload) > _MAX_PAYLOAD:
            return
        self._chains[chain.records[-1].digest] = chain
        if len(self._chains) > _MAX_CHAINS:
            del self._chains[next(iter(self._chains))]
