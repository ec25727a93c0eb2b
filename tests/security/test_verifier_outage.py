"""A verifier whose key is out of reach for a while: nothing is refused, nothing is lost; and who is entered, once."""

from __future__ import annotations

import logging
from typing import Self

import pytest

from paigeant import ActivitySpec, activity
from paigeant.builtin.hs256.keys import Hs256Key
from paigeant.envelope import Security, b64url
from paigeant.errors import SignerUnavailable
from paigeant.runtime import reception
from paigeant.state.transitions import MAX_CRASHES

from ..support import Bed

PROBE = b64url(b'{"probe":true}').encode()


class Vault:
    """A key far away: a context manager, signer and verifier in one; the first ``outages`` verifications fail."""

    alg, principal, kid = "HS256", "vault", "vault-1"

    def __init__(self, outages: int = 0) -> None:
        self._key = Hs256Key(b"k" * 32, "vault")
        self.outages, self.entered, self.left = outages, 0, 0

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.left += 1

    async def sign(self, signing_input: bytes) -> bytes:
        return await self._key.sign(signing_input)

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        if PROBE not in signing_input and self.outages:
            self.outages -= 1
            raise SignerUnavailable("vault-1 is not reached; check the network")
        return await self._key.verify(signing_input, signature)


def of(vault: Vault) -> Security:
    return Security.build("default", signers=[vault], verifiers=[vault])


@activity
async def echo() -> int:
    return 1


async def test_a_verifier_out_of_reach_costs_nothing_but_time(
    stored: Bed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long: that nothing could be judged is neither a refusal nor a crash."""
    monkeypatch.setattr(reception, "ODD_DELAY", 0.05)
    caplog.set_level(logging.WARNING)
    async with stored.dispatcher(security=of(Vault())) as dispatcher:
        workflow = await dispatcher.dispatch_workflow([ActivitySpec("echo")])
    away = Vault(outages=2 * MAX_CRASHES)
    async with stored.worker(echo, security=of(away), lease=60), stored.client(security=of(Vault())) as client:
        assert (await client.result(workflow, timeout=30)).results == {"echo": 1}
    assert away.outages == 0
    assert "is tried again in 0.05 s: vault-1 is not reached" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert await stored.dead("echo") == []


async def test_what_is_signer_and_verifier_is_entered_once(memory: Bed) -> None:
    vault = Vault()
    async with memory.dispatcher(security=of(vault)) as dispatcher:
        await dispatcher.dispatch_workflow([ActivitySpec("echo")])
        assert (vault.entered, vault.left) == (1, 0)
    assert (vault.entered, vault.left) == (1, 1)
