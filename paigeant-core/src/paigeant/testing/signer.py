"""The suite for signers and verifiers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..abc.security import Signer, Verifier
from ..errors import SignerUnavailable
from .kit import Suite, conformance, skip
from .rules import check, fail

Pair: TypeAlias = tuple[Sequence[Signer], Sequence[Verifier]]

_INPUT = b"eyJhbGciOiJub25lIn0.cGF5bG9hZA"
_INPUTS = [_INPUT, b"", b"x", bytes(range(256)), bytes(100_000)]
_KID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_LENGTHS = {"HS256": 32, "HS384": 48, "HS512": 64, "ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64, "Ed25519": 64}


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

    Where signing can fail for a while, define ``make_unavailable`` too.
    """

    def make(self, tmp_path: Path) -> Pair:
        """What the plugin's factory returns: signers and verifiers."""
        raise TypeError(f"{type(self).__name__} must define make(self, tmp_path) -> (signers, verifiers)")

    def make_unavailable(self, tmp_path: Path) -> Signer | None:
        """Optional: a signer that cannot sign now; ``None`` where there is no such thing."""
        return None

    def prepare(self, tmp_path: Path, stack: AsyncExitStack) -> _Opener:
        return _Opener(self.make(tmp_path), tmp_path, stack)

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
        signer = self.make_unavailable(opener.tmp_path)
        if signer is None:
            skip("make_unavailable() returns None: signing cannot fail for a while")
        try:
            await signer.sign(_INPUT)
        except SignerUnavailable:
            return
        except Exception as exc:
            fail("G02", f"sign raised {exc!r}", "raise SignerUnavailable ... from exc")
        fail("G02", "sign gave a signature", "return a signer that cannot sign, or None")

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
            signature = await signer.sign(_INPUT)
            for data, forged, what in _forgeries(_INPUT, signature):
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
    async def test_G05_key_ids_are_well_formed_and_distinct(self, opener: _Opener) -> None:
        keys = await opener.open()
        for group in (keys.signers, keys.verifiers):
            kids = [key.kid for key in group]
            check(len(kids) == len(set(kids)), "G05", f"key ids {kids}", "give every key an id of its own")
            bad = [kid for kid in kids if not _KID.fullmatch(kid)]
            check(not bad, "G05", f"key ids {bad}", f"match {_KID.pattern}")
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

    def __init__(self, pair: Pair, tmp_path: Path, stack: AsyncExitStack) -> None:
        self.tmp_path, self._pair, self._stack = tmp_path, pair, stack

    async def open(self) -> Keys:
        signers, verifiers = self._pair
        entered: dict[int, Any] = {}
        for key in [*signers, *verifiers]:
            if hasattr(key, "__aenter__") and id(key) not in entered:
                entered[id(key)] = await self._stack.enter_async_context(key)  # type: ignore[arg-type]
        return Keys([entered.get(id(key), key) for key in signers], [entered.get(id(key), key) for key in verifiers])


def _forgeries(data: bytes, signature: bytes) -> list[tuple[bytes, bytes, str]]:
    """Inputs and signatures that must not verify."""
    flipped = [(data, _flip(signature, n), f"byte {n} of the signature changed") for n in range(len(signature))]
    lengths = [b"", signature[:1], signature[:-1], signature[1:], signature + b"\x00", signature * 2, bytes(10_000)]
    wrong = [(data, other, f"a signature of {len(other)} bytes") for other in lengths]
    zeros = [(data, bytes(len(signature)), "only zeros"), (data, b"\xff" * len(signature), "only ones")]
    inputs = [data[:-1], data + b"\x00", _flip(data, 0), b"", data * 2]
    others = [(other, signature, f"another input of {len(other)} bytes") for other in inputs]
    return [*flipped, *wrong, *zeros, *others]


def _flip(data: bytes, n: int) -> bytes:
    return data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :]
