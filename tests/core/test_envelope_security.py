"""Keys, policy and composed signers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from paigeant.envelope import Security, open_envelope
from paigeant.errors import (
    BadSignature,
    ConfigurationError,
    Expired,
    LimitExceeded,
    PolicyNotSatisfied,
    SignerUnavailable,
    UntrustedSigner,
)

from .records_kit import LIMIT, NOW, Key, dispatched, done, message, reopened, signed

A, B = Key("a-key", "acme"), Key("b-key", "auditor")


def test_defaults_come_from_the_signers() -> None:
    security = Security.build("acme", signers=[B, A], verifiers=[A, B, Key("old", "retired")])
    assert (security.issuer, security.kids) == ("auditor", ("a-key", "b-key"))
    assert security.required == {"acme", "auditor"}
    assert (security.max_lifetime, security.skew, security.sign_timeout) == (30 * 86_400, 60, 5.0)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"verifiers": [A, A]}, "two keys have the kid 'a-key'"),
        ({"signers": [A, A]}, "different kids"),
        ({"signers": [B]}, "'b-key'.*no verifier"),
        ({"signers": [], "verifiers": []}, "no key to verify with"),
        ({"required": ["acme", "hsm"]}, "would be refused.*'hsm'"),
        ({"issuer": "someone"}, "none of the signing principals"),
        ({"issuer": "x" * 257}, "1 to 256 characters"),
        ({"skew": 301}, "0 to 300"),
        ({"skew": -1}, "0 to 300"),
        ({"namespace": "Not A Namespace"}, "namespace"),
        ({"verifiers": [A, Key("kid/../etc")]}, "kid"),
        ({"signers": (many := [Key(f"k{n}") for n in range(9)]), "verifiers": many}, "at most 8"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Security.build(**{"namespace": "acme", "signers": [A], "verifiers": [A], **parts})


def test_a_verifier_of_another_algorithm_is_no_verifier() -> None:
    other = Key("a-key")
    other.alg = "ES256"
    with pytest.raises(ConfigurationError, match=r"'a-key' \(HS256\) has no verifier"):
        Security.build("acme", signers=[A], verifiers=[other])


def test_unsigned_is_never_half_signed() -> None:
    with pytest.raises(ConfigurationError, match="neither signers"):
        Security("acme", "x", (A,), {"a-key": A}, frozenset(), unsigned=True)
    with pytest.raises(ConfigurationError, match="no key to verify with"):
        Security("acme", "x", (), {}, frozenset())


def test_the_policy_digest_shows_what_a_fleet_must_agree_on() -> None:
    policies = {
        signed(A).policy,
        signed(A, B).policy,
        signed(A, store="sqlite").policy,
        Security.insecure("acme").policy,
        Security.build("acme", signers=[A], verifiers=[A], required=[]).policy,
    }
    assert len(policies) == 5
    assert signed(A, skew=0).policy == signed(Key("a-key", "acme", b"other secret")).policy


async def test_another_policy_is_visible(caplog: pytest.LogCaptureFixture) -> None:
    sealed = await dispatched(signed(A, store="none"))
    with caplog.at_level(logging.WARNING, "paigeant"):
        await reopened(sealed, signed(A, store="sqlite"))
        other = signed(A, store="memory")
        for n in range(3):
            sealed_too = await dispatched(signed(A, store="none"), variables={"n": n})
            await open_envelope(message(sealed_too), other, now=NOW, limit=LIMIT)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2, "one for each process, not for each workflow"
    assert warnings[0].startswith("workflow 'w-1': dispatched under another security policy")
    with pytest.raises(PolicyNotSatisfied, match="another security policy"):
        await reopened(sealed, signed(A, store="sqlite", other_policy="reject"))
    await reopened(sealed, signed(A, store="none", other_policy="reject"))


async def test_composed_signers_are_all_required_and_order_does_not_matter() -> None:
    both = signed(B, A)
    sealed = await done(await dispatched(both), both)
    assert [len(record.signatures) for record in sealed.envelope.records] == [2, 2]
    assert sealed.hops[0].signers == ("a-key", "b-key")
    again = signed(A, B, issuer="auditor")
    assert (await done(await dispatched(again), again)).body == sealed.body
    await reopened(sealed, both)
    one = Security.build("acme", signers=[A], verifiers=[A, B])
    with pytest.raises(PolicyNotSatisfied, match="'auditor'"):
        await reopened(await dispatched(one), both)


async def test_an_issuer_must_be_among_the_signers() -> None:
    sealed = await dispatched(signed(A))
    renamed = Key("a-key", "somebody else")
    with pytest.raises(UntrustedSigner, match="'acme' is none of its signers"):
        await reopened(sealed, signed(renamed))


class Broken(Key):
    """A signer that misbehaves in one way."""

    def __init__(self, how: str) -> None:
        super().__init__("z-broken", "hsm")
        self.how, self.cancelled = how, False

    async def sign(self, signing_input: bytes) -> Any:
        match self.how:
            case "raises":
                raise OSError("no route to the vault")
            case "unavailable":
                raise SignerUnavailable("maintenance")
            case "hangs":
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled = True
            case "short":
                return (await super().sign(signing_input))[:-1]
            case "wrong":
                return await super().sign(b"something else")
            case _:
                return None


@pytest.mark.parametrize("how", ["raises", "unavailable", "hangs", "short", "wrong", "none"])
@pytest.mark.parametrize("alone", [True, False])
async def test_a_signer_that_fails_means_nothing_is_made(how: str, alone: bool) -> None:
    broken = Broken(how)
    keys = (broken,) if alone else (A, broken)
    security = signed(*keys, sign_timeout=0.02)
    with pytest.raises(SignerUnavailable, match="'z-broken'"):
        await dispatched(security)
    assert broken.cancelled == (how == "hangs")
    with pytest.raises(ConfigurationError, match=r"self-test.*'z-broken'"):
        await security.self_test()
    assert security.verified.longest(()) is None


class Mute(Key):
    """A verifier that does not answer."""

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return bool(await asyncio.Event().wait())


async def test_a_verifier_that_does_not_answer_has_not_refused() -> None:
    opened = await dispatched(signed(A))
    deaf = Security.build("acme", signers=[A], verifiers=[Mute(A.kid, A.principal)], sign_timeout=0.02)
    async with asyncio.timeout(10):
        with pytest.raises(SignerUnavailable, match=f"'{A.kid}': no answer within 0.02 s"):
            await reopened(opened, deaf)


async def test_signers_run_in_parallel() -> None:
    together = asyncio.Barrier(2)

    class Meeting(Key):
        async def sign(self, signing_input: bytes) -> bytes:
            await together.wait()
            return await super().sign(signing_input)

    await reopened(await dispatched(both := signed(Meeting("m1", "x"), Meeting("m2", "y"))), forgetful_of(both))


def forgetful_of(security: Security) -> Security:
    return Security.build("acme", signers=[Key("m1", "x"), Key("m2", "y")], verifiers=security.verifiers.values())


async def test_cancellation_reaches_a_signer_and_passes_on() -> None:
    started = asyncio.Event()

    class Slow(Broken):
        async def sign(self, signing_input: bytes) -> Any:
            started.set()
            return await super().sign(signing_input)

    for keys in ((slow := Slow("hangs"),), (A, slow2 := Slow("hangs"))):
        started.clear()
        task = asyncio.create_task(dispatched(signed(*keys)))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert slow.cancelled
    assert slow2.cancelled


async def test_the_self_test_passes_for_what_works() -> None:
    await signed(A, B).self_test()
    await Security.insecure("acme").self_test()


async def test_who_only_reads_cannot_seal() -> None:
    reader = Security.build("acme", signers=[], verifiers=[A], required=["acme"])
    await reopened(await dispatched(signed(A)), reader)
    with pytest.raises(ConfigurationError, match="PAIGEANT_SIGNERS"):
        await dispatched(reader)


async def test_signed_and_unsigned_do_not_mix() -> None:
    unsigned = Security.insecure("acme")
    plain = await done(await dispatched(unsigned), unsigned)
    assert all(record.signatures == () for record in plain.envelope.records)
    assert (await reopened(plain, unsigned)).slip == plain.slip
    with pytest.raises(PolicyNotSatisfied, match="unsigned namespace"):
        await reopened(await dispatched(signed(A)), unsigned)


@pytest.mark.parametrize(
    ("raised", "error"), [(ValueError("bad point"), BadSignature), (SignerUnavailable("vault"), SignerUnavailable)]
)
async def test_a_verifier_that_raises(raised: Exception, error: type[Exception]) -> None:
    class Raising(Key):
        async def verify(self, signing_input: bytes, signature: bytes) -> bool:
            raise raised

    with pytest.raises(error):
        await reopened(await dispatched(signed(Key())), signed(Raising()))


class Counting(Key):
    """Counts its verifications."""

    def __init__(self) -> None:
        super().__init__()
        self.verified = 0

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        self.verified += 1
        return await super().verify(signing_input, signature)


async def test_what_was_verified_is_remembered_and_only_that() -> None:
    key = Counting()
    reader, other = signed(key), signed(Key())
    sealed = await done(await dispatched(other), other)
    for _ in range(3):
        assert (await open_envelope(message(sealed), reader, now=NOW, limit=LIMIT)).slip == sealed.slip
    assert key.verified == 2
    await open_envelope(message(await done(sealed, other)), reader, now=NOW, limit=LIMIT)
    assert key.verified == 3


async def test_what_it_sealed_itself_is_not_even_parsed() -> None:
    security = signed(key := Counting())
    sealed = await dispatched(security)
    made = key.verified
    assert await open_envelope(message(sealed), security, now=NOW, limit=LIMIT) is sealed
    assert key.verified == made
    again = await open_envelope(message(sealed), security, now=NOW, limit=LIMIT)
    assert again == sealed
    assert again is not sealed


async def test_what_it_sealed_itself_still_has_limits_and_an_expiry() -> None:
    for limits, error in (({"now": NOW, "limit": 100}, LimitExceeded), ({"now": NOW + 10**6, "limit": LIMIT}, Expired)):
        security = signed()
        with pytest.raises(error):
            await open_envelope(message(await dispatched(security)), security, **limits)


async def test_what_is_remembered_is_bounded() -> None:
    security = signed()
    for n in range(2060):
        await dispatched(security, variables={"n": n})
    assert len(security.verified._by_payload) == len(security.verified._by_body) == 2048
    await dispatched(security, variables={"huge": "x" * 20_000})
    large = await dispatched(security, *["a"] * 200)
    assert not {large.tip} & security.verified._by_payload.keys()
    assert max(map(len, security.verified._by_body)) <= 16 * 1024
