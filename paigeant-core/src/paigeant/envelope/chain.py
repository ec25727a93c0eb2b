"""Verified envelopes, and the memory of those this process has verified or made.

The digest of a record covers its payload, its signatures and, through ``prev``, everything before it.
So a known digest is a chain that this process has verified under this policy, byte for byte, and the
next hop of a workflow verifies only what is new. A worker that receives what it has sealed itself,
again byte for byte, need not even parse it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..model.records import Hop, ValueRef
from ..routing import Slip
from .frame import Envelope, Record

_MAX_ENTRIES = 2048
_MAX_SIZE = 16 * 1024
_MAX_TOTAL = 16 * 1024 * 1024
_MAX_POLICIES = 16


class Opened(Struct, frozen=True):
    """A verified envelope: what it says, and the records that say it.

    :param lacking: values that it needs and does not hold: stored aside, or taken out.
    """

    envelope: Envelope
    slip: Slip
    hops: tuple[Hop, ...]
    lacking: tuple[ValueRef, ...] = ()

    @property
    def body(self) -> bytes:
        """The bytes of the message."""
        return self.envelope.body

    @property
    def tip(self) -> str:
        """Digest of the last record, signatures included: ``prev`` of the next one."""
        return self.envelope.records[-1].digest

    @property
    def head(self) -> str:
        """Digest of the payload of the last record: what a cursor remembers."""
        return self.envelope.records[-1].head

    def heads(self, position: int) -> str:
        """Payload digest of the record at ``position``: 0 is the origin, ``n`` the hop of ``seq`` n-1.

        :raises IndexError: there is none.
        """
        return self.envelope.records[position].head


class Verified:
    """The latest verified envelopes of one process, by the payload of their last record, and those it made, by
    their bytes; bounded, the oldest give way."""

    def __init__(self) -> None:
        self._by_payload: dict[str, Opened] = {}
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._by_body: dict[bytes, Opened] = {}
        self._policies: set[str] = set()

    def longest(self, records: Sequence[Record]) -> Opened | None:
        """The known envelope with the longest chain that these records begin with."""
        for count in range(len(records), 0, -1):
            known = self._by_payload.get(records[count - 1].payload)
            if known is not None and known.envelope.records == tuple(records[:count]):
                return known
        return None

    def add(self, opened: Opened) -> None:
        """Remember it, without its values. Unusually large records are not kept."""
        envelope = opened.envelope
        last = envelope.records[-1].payload
        if len(last) > _MAX_SIZE:
            return
        if envelope.blobs or envelope.ext:
            opened = Opened(Envelope(envelope.records), opened.slip, opened.hops)
        self._forget(last)
        size = sum([len(record.payload) for record in envelope.records])
        self._by_payload[last], self._sizes[last] = opened, size
        self._total += size
        while len(self._by_payload) > _MAX_ENTRIES or self._total > _MAX_TOTAL:
            self._forget(next(iter(self._by_payload)))

    def _forget(self, payload: str) -> None:
        if self._by_payload.pop(payload, None) is not None:
            self._total -= self._sizes.pop(payload)

    def is_news(self, policy: str) -> bool:
        """Whether this foreign policy digest is met for the first time (of the first few)."""
        news = policy not in self._policies and len(self._policies) < _MAX_POLICIES
        if news:
            self._policies.add(policy)
        return news

    def recall(self, body: bytes) -> Opened | None:
        """What this process has sealed as exactly these bytes. Told once: it is rarely received again."""
        return self._by_body.pop(body, None)

    def sealed(self, sealed: Opened) -> None:
        """Remember it. Unusually large bodies are not kept."""
        body = sealed.envelope.body
        if len(body) > _MAX_SIZE:
            return
        self.add(sealed)
        self._by_body[body] = sealed
        if len(self._by_body) > _MAX_ENTRIES:
            del self._by_body[next(iter(self._by_body))]
