"""Deterministic ids and store keys: two workers that do the same thing name it the same."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache

from ..model.lazy import lazy

ROOT = "0"


def digest_of(*parts: object) -> str:
    """132 bits of SHA-256 over the parts, unambiguous about where one ends, as 22 key characters."""
    text = "\x00".join(map(str, parts))
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()[:22]


def idempotency_key(workflow: str, branch: str, step: str, direction: str) -> str:
    """The same for every attempt of one step in one direction: for the receiver of its effects."""
    return digest_of("idempotency", workflow, branch, step, direction)


@dataclass(frozen=True)
class BranchKeys:
    """All store keys and ids of one branch. ``workflow`` is the hash that stands for its id in keys."""

    workflow: str
    branch: str = ROOT

    @classmethod
    def of(cls, correlation_id: str) -> BranchKeys:
        """The root branch of a workflow."""
        return _root(correlation_id)

    @classmethod
    def from_cursor_key(cls, key: str) -> BranchKeys | None:
        """The branch whose cursor is stored under ``key``; ``None`` for any other key."""
        parts = key.split("/")
        return cls(parts[1], parts[2]) if len(parts) == 3 and parts[0] == "run" else None

    @lazy
    def cursor(self) -> str:
        return f"run/{self.workflow}/{self.branch}"

    def result(self, nonce: str) -> str:
        """Where the final envelope is kept: under the nonce of the tombstone, so that none but its writer can."""
        return f"{self.results}{nonce}"

    @property
    def results(self) -> str:
        """What the keys of all final envelopes begin with."""
        return f"result/{self.workflow}/"

    @property
    def parked(self) -> str:
        """The index entry of a parked branch, so that people find it without a full scan."""
        return f"parked/{self.workflow}-{self.branch}"

    @property
    def histories(self) -> str:
        """What the keys of all history entries begin with."""
        return f"hist/{self.workflow}/{self.branch}/"

    def history(self, seq: int, head: str) -> str:
        """The entry of one *record*: what a stale worker writes stays apart from what was committed."""
        return f"{self.histories}{seq:05d}-{head[:22]}"

    def compensation(self, seq: int) -> str:
        """Data registered for compensation by the hop ``seq``, before its effect."""
        return f"comp/{self.workflow}/{self.branch}/{seq:05d}"

    def blob(self, digest: str) -> str:
        """A value stored aside (EIP "Claim Check")."""
        return f"blob/{self.workflow}/{digest}"

    def hop_id(self, seq: int) -> str:
        return digest_of("hop", self.workflow, self.branch, seq)

    def message_id(self, seq: int, gen: int) -> str:
        """The id of the message for hop ``seq``: new for every deliberate send, the same for a repeat."""
        return f"{self.workflow}-{self.branch}-{seq}-{gen}"


@lru_cache(maxsize=4096)
def _root(correlation_id: str) -> BranchKeys:
    return BranchKeys(digest_of("workflow", correlation_id))
