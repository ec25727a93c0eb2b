"""The suite for signers and verifiers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..abc.security import Signer, Verifier
from ..errors import BackendUnavailable, SignerUnavailable
from ..model.names import KID
from .kit import Suite, conformance, skip
from .rules import check, fail, refuses

Pair: TypeAlias = tuple[Sequence[Signer], Sequence[Verifier]]

_INPUT = b"eyJhbGciOiJub25lIn0.cGF5bG9hZA"
_LONG = bytes(100_000)
_INPUTS = [_INPUT, b"", b"x", bytes(range(256)), _LONG]
_LENGTHS = {"HS256": 32, "HS384": 48, "HS512": 64, "ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64, "Ed25519": 64}
_CANNOT_TELL = (
    "raise BackendUnavailable ... from exc: the message is tried again later; False makes a dead letter of it"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys under test, entered where they are async context managers."""

    signers: Sequence[Signer]
    verifiers: Sequence[Verifier]

    def facts(self) -> list[tuple[str, ...]]:
        """What is told of each key."""
        return [(s.kid, s.alg) for s in self.signers] + [(v.kid, v.alg, v.principal) for v in self.verifiers]

    def verifier(self, signer: Signer) -> Verifier:
        """The verifier that belongs to ``signer``."""
        found = [v for v in self.verifiers if (v.kid, v.alg) == (signer.kid, signer.alg)]
        check(
            len(found) == 1,
            "G03",
            f"signer {signer.kid!r} ({signer.alg}) has {len(found)} verifiers of its kid and alg",
            "return a verifier for every signer",
        )
        return found[0]


class SignerSuite(Suite):
    """Every rule of ``paigeant.abc.Signer`` and ``Verifier``.

    ::

        class TestVault(SignerSuite):
            def make(self, tmp_path: Path) -> tuple[list[Signer], list[Verifier]]:
                return [VaultSigner(...)], [VaultVerifier(...)]

    Where a key can be out of reach for a while, define ``make_unavailable`` too.
    """

    def make(self, tmp_path: Path) -> Pair:
        """What the plugin's factory returns: signers and verifiers."""
        raise TypeError(f"{type(self).__name__} must define make(self, tmp_path) -> (signers, verifiers)")

    def make_unavailable(self, tmp_path: Path) -> Pair | None:
        """Optional: signers and verifiers whose keys are out of reach now; ``None`` where there is no such thing."""
        return None

    def prepare(self, tmp_path: Path, stack: AsyncExitStack) -> _Opener:
        return _Opener(self, tmp_path, stack)

    @conformance("G03")
    async def test_G01_a_signature_verifies(self, opener: _Opener) -> None:
        keys = await opener.open()
        check(keys.signers, "G01", "there is no signer", "return at least one signer from make()")
        for signer in keys.signers:
            verifier = keys.verifier(signer)
            for data in _INPUTS:
                signature = await signer.sign(data)
                check(
                    await verifier.verify(data, signature) is True,
                    "G03",
                    f"the signature of {signer.kid!r} over {len(data)} bytes is refused by its verifier",
                    "verify exactly the bytes given, and return True",
                )

    @conformance()
    async def test_G01_signatures_are_raw(self, opener: _Opener) -> None:
        keys = await opener.open()
        for signer in keys.signers:
            signature = await signer.sign(_INPUT)
            check(type(signature) is bytes, "G01", f"sign gave a {type(signature).__name__}", "return bytes")
            wanted = _LENGTHS.get(signer.alg, len(signature))
            check(
                len(signature) == wanted,
                "G01",
                f"{signer.alg}: {len(signature)} bytes, not {wanted}",
                "return the JOSE form (RFC 7518): no base64, no DER, no hexadecimal",
            )

    @conformance()
    async def test_G01_signers_are_safe_for_concurrent_use(self, opener: _Opener) -> None:
        keys = await opener.open()
        for signer in keys.signers:
            verifier = keys.verifier(signer)
            inputs = [f"input {n}".encode() for n in range(50)]
            signatures = await asyncio.gather(*map(signer.sign, inputs))
            good = await asyncio.gather(*map(verifier.verify, inputs, signatures))
            check(
                all(good),
                "G01",
                f"{signer.kid!r}: of 50 concurrent signatures {good.count(False)} do not verify",
                "keep nothing of a call in the signer",
            )

    @conformance()
    async def test_G02_temporary_trouble_is_signer_unavailable(self, opener: _Opener) -> None:
        keys = await opener.open_unavailable()
        for signer in keys.signers or skip("make_unavailable() gives no signer"):
            with refuses(SignerUnavailable, "G02", "sign, its key out of reach", "raise it ... from exc"):
                await signer.sign(_INPUT)

    @conformance()
    async def test_G03_verifiers_work_with_their_own_signer_only(self, opener: _Opener) -> None:
        keys = await opener.open()
        for signer in keys.signers:
            signature = await signer.sign(_INPUT)
            for verifier in keys.verifiers:
                accepted = await verifier.verify(_INPUT, signature)
                check(
                    not accepted or verifier.kid == signer.kid,
                    "G05",
                    f"verifier {verifier.kid!r} accepts the signature of {signer.kid!r}",
                    "one kid is one key",
                )

    @conformance()
    async def test_G04_nothing_else_verifies(self, opener: _Opener) -> None:
        keys = await opener.open()
        for signer in keys.signers:
            verifier = keys.verifier(signer)
            forgeries = _wrong_signatures(_INPUT, await signer.sign(_INPUT))
            for data in (_INPUT, _LONG):
                forgeries += _wrong_inputs(data, await signer.sign(data))
            for data, forged, what in forgeries:
                try:
                    verdict = await verifier.verify(data, forged)
                except Exception as exc:
                    fail("G04", f"{what}: verify raised {exc!r}", "catch the library's errors, return False")
                check(verdict is False, "G04", f"{what}: verify gave {verdict!r}", "return False")

    @conformance()
    async def test_G04_still_verifies_after_forgeries(self, opener: _Opener) -> None:
        keys = await opener.open()
        for signer in keys.signers:
            verifier = keys.verifier(signer)
            signature = await signer.sign(_INPUT)
            await verifier.verify(_INPUT, b"forged")
            check(
                await verifier.verify(_INPUT, signature) is True, "G04", "a forgery broke the verifier", "keep no state"
            )

    @conformance()
    async def test_G04_a_key_out_of_reach_is_no_verdict(self, opener: _Opener) -> None:
        keys = await opener.open_unavailable()
        for verifier in keys.verifiers or skip("make_unavailable() gives no verifier"):
            signature = b"\x01" * _LENGTHS.get(verifier.alg, 256)  # its form alone gives no reason to refuse it
            with refuses((SignerUnavailable, BackendUnavailable), "G04", "verify, its key out of reach", _CANNOT_TELL):
                await verifier.verify(_INPUT, signature)

    @conformance()
    async def test_G05_key_ids_are_well_formed_and_distinct(self, opener: _Opener) -> None:
        keys = await opener.open()
        for group in (keys.signers, keys.verifiers):
            kids = [key.kid for key in group]
            check(len(kids) == len(set(kids)), "G05", f"key ids {kids}", "give every key an id of its own")
            bad = [kid for kid in kids if not KID.fullmatch(kid)]
            check(not bad, "G05", f"key ids {bad}", f"match {KID.pattern}")
            algorithms = [key.alg for key in group if key.alg.lower() in {"", "none"}]
            check(not algorithms, "G05", f"algorithms {algorithms}", "name a JOSE algorithm")

    @conformance()
    async def test_G05_facts_about_a_key_do_not_change(self, opener: _Opener) -> None:
        keys = await opener.open()
        before = keys.facts()
        for signer in keys.signers:
            await keys.verifier(signer).verify(_INPUT, await signer.sign(_INPUT))
        after = keys.facts()
        check(before == after, "G05", f"{before} became {after}", "make kid, alg and principal constants of the key")
        nameless = [v.kid for v in keys.verifiers if not v.principal]
        check(not nameless, "G05", f"verifiers {nameless} have no principal", "say whom the key stands for")


class _Opener:
    """Enters what is an async context manager, on the stack of the test."""

    def __init__(self, suite: SignerSuite, tmp_path: Path, stack: AsyncExitStack) -> None:
        self._suite, self._tmp_path, self._stack = suite, tmp_path, stack

    async def open(self) -> Keys:
        """Those of ``make``."""
        return await self._enter(*self._suite.make(self._tmp_path))

    async def open_unavailable(self) -> Keys:
        """Those of ``make_unavailable``, if there are any."""
        pair = self._suite.make_unavailable(self._tmp_path)
        if pair is None:
            skip("make_unavailable() returns None: no key can be out of reach")
        return await self._enter(*pair)

    async def _enter(self, signers: Sequence[Signer], verifiers: Sequence[Verifier]) -> Keys:
        entered: dict[int, Any] = {}
        for key in [*signers, *verifiers]:
            if hasattr(key, "__aenter__") and id(key) not in entered:
                entered[id(key)] = await self._stack.enter_async_context(key)  # type: ignore[arg-type]
        return Keys([entered.get(id(key), key) for key in signers], [entered.get(id(key), key) for key in verifiers])


def _wrong_signatures(data: bytes, signature: bytes) -> list[tuple[bytes, bytes, str]]:
    """Other signatures for ``data``, and what is wrong with each."""
    flipped = [(data, _flip(signature, n), f"byte {n} of the signature changed") for n in range(len(signature))]
    lengths = [b"", signature[:1], signature[:-1], signature[1:], signature + b"\x00", signature * 2, bytes(10_000)]
    wrong = [(data, other, f"a signature of {len(other)} bytes") for other in lengths]
    zeros = [(data, bytes(len(signature)), "only zeros"), (data, b"\xff" * len(signature), "only ones")]
    return [*flipped, *wrong, *zeros]


def _wrong_inputs(data: bytes, signature: bytes) -> list[tuple[bytes, bytes, str]]:
    """Other inputs for the ``signature`` of ``data``, and what is wrong with each."""
    flipped = [_flip(data, 0), _flip(data, len(data) - 1)]
    inputs = [*flipped, data[:-1], data + b"\x00", b"", data * 2]
    return [(other, signature, f"an input of {len(other)} bytes, changed from {len(data)}") for other in inputs]


def _flip(data: bytes, n: int) -> bytes:
    return data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :]
