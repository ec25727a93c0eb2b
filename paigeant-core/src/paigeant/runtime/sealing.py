"""From the result of an attempt to a signed hop, its history and the values stored aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..envelope.sealing import seal_hop
from ..model.store import Write
from .lifetime import lifetime
from .patience import patiently
from .protocol import Commit
from .values import CLAIM_CHECK, write_history

if TYPE_CHECKING:
    from ..envelope.opening import Opened
    from ..routing.advance import HopDraft
    from .claim import Claim
    from .environment import Environment
    from .values import Outbox

HOP_BYTES = 1400
"""About what one record adds to the message: 600 bytes of claims, base64, a signature or two."""


class Sealer:
    """Seals hops in the name of one worker."""

    def __init__(self, env: Environment, worker: str) -> None:
        self._env, self._worker = env, worker

    async def seal(self, claim: Claim, draft: HopDraft, outbox: Outbox, started: float) -> Commit:
        """Sign the record of a hop, and gather what is written with it."""
        env = self._env
        ttl = lifetime(env, claim.opened.slip.origin.exp)
        aside = outbox.aside() if env.store is not None else frozenset[str]()
        opened = await self._sign(claim, draft, outbox.without(aside))
        writes = [Write(claim.keys.blob(digest), outbox.blobs[digest], ttl=ttl) for digest in aside]
        if env.store is not None:
            out = b"" if draft.out is None or draft.out.n > CLAIM_CHECK else outbox.blobs[draft.out.h]
            entry = write_history(opened.hops[-1], worker=self._worker, started=started, finished=env.now(), out=out)
            writes.append(Write(claim.keys.history(claim.seq, opened.head), entry, ttl=ttl))
        return Commit(opened, tuple(writes))

    async def _sign(self, claim: Claim, draft: HopDraft, blobs: dict[str, bytes]) -> Opened:
        """A signer that is down is waited out like a backend: the step is done, only its record is not."""
        env = self._env
        return await patiently(
            lambda: seal_hop(claim.opened, draft, blobs, env.security, now=env.now()), env.clock, "signing a record"
        )
