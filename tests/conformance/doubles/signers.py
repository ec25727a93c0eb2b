"""Signers and their verifiers with one deliberate fault each."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import Any

from paigeant.abc import Signer, Verifier
from paigeant.builtin.hs256.keys import Hs256Key
from paigeant.errors import SignerUnavailable


class Key(Hs256Key):
    """Behaves; ``keys`` is what the plugin returns."""

    def __init__(self, secret: bytes = b"s" * 32, principal: str = "test") -> None:
        super().__init__(secret, principal)
        self.secret = secret

    @classmethod
    def keys(cls) -> tuple[list[Signer], list[Verifier]]:
        first, second = cls(b"1" * 32), cls(b"2" * 32)
        return [first], [first, second]

    @classmethod
    def unavailable(cls) -> tuple[list[Signer], list[Verifier]]:
        away = cls()
        away.sign = away.verify = _unavailable  # type: ignore[method-assign]
        return [away], [away]


async def _unavailable(*data: bytes) -> Any:
    raise SignerUnavailable("not now")


async def _broken(*data: bytes) -> Any:
    raise ConnectionError("driver")


async def _refused(*data: bytes) -> bool:
    return False


class SignsText(Key):
    """Signs in base64."""

    async def sign(self, signing_input: bytes) -> bytes:
        return base64.urlsafe_b64encode(await super().sign(signing_input))

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        try:
            raw = base64.b64decode(signature, altchars=b"-_", validate=True)
        except ValueError:
            return False
        return base64.urlsafe_b64encode(raw) == signature and await super().verify(signing_input, raw)


class SignsNormalized(Key):
    """Signs something like the input."""

    async def sign(self, signing_input: bytes) -> bytes:
        return await super().sign(signing_input.rstrip(b"\x00"))

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return await super().verify(signing_input.rstrip(b"\x00"), signature)


class SignsTheBeginning(Key):
    """Signs no more than a page of the input."""

    async def sign(self, signing_input: bytes) -> bytes:
        return await super().sign(signing_input[:4096])

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return await super().verify(signing_input[:4096], signature)


class SignsTruncated(Key):
    """Compares the first half."""

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return hmac.digest(self.secret, signing_input, "sha256")[:16] == signature[:16]


class RaisesForBadLength(Key):
    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        if len(signature) != 32:
            raise ValueError("length")
        return await super().verify(signing_input, signature)


class AcceptsEverything(Key):
    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return True


class AnswersWithNone(Key):
    """``None`` for no."""

    async def verify(self, signing_input: bytes, signature: bytes) -> Any:
        return await super().verify(signing_input, signature) or None


class GivesUpAfterOne(Key):
    """A forgery locks it."""

    locked = False

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        good = not self.locked and await super().verify(signing_input, signature)
        self.locked = not good
        return good


class SharesItsState(Key):
    """Keeps the input of a call where the next finds it."""

    async def sign(self, signing_input: bytes) -> bytes:
        self.current = signing_input
        await asyncio.sleep(0)
        return await super().sign(self.current)


class HasNoVerifier(Key):
    @classmethod
    def keys(cls) -> tuple[list[Signer], list[Verifier]]:
        return [cls(b"1" * 32)], [cls(b"2" * 32)]


class HasNoSigner(Key):
    @classmethod
    def keys(cls) -> tuple[list[Signer], list[Verifier]]:
        return [], [cls()]


class SharesAKid(Key):
    """Two keys, one id; the second copies the first."""

    @classmethod
    def keys(cls) -> tuple[list[Signer], list[Verifier]]:
        first, second = cls(b"1" * 32), cls(b"2" * 32)
        second.kid, second.alg = first.kid, "HS512"
        return [first], [first, second]


class OneKeyOfTwoNames(Key):
    @classmethod
    def keys(cls) -> tuple[list[Signer], list[Verifier]]:
        first, second = cls(), cls()
        second.kid = "other"
        return [first], [first, second]


class RotatesItsKid(Key):
    """Names itself anew after each signature."""

    async def sign(self, signing_input: bytes) -> bytes:
        signature = await super().sign(signing_input)
        self.principal = hashlib.sha256(signature).hexdigest()
        return signature


class LeaksDriverErrors(Key):
    @classmethod
    def unavailable(cls) -> tuple[list[Signer], list[Verifier]]:
        away = cls()
        away.sign = away.verify = _broken  # type: ignore[method-assign]
        return [away], [away]


class RefusesWhatItCannotTell(Key):
    """Says no while its key is out of reach, which makes dead letters of good messages."""

    @classmethod
    def unavailable(cls) -> tuple[list[Signer], list[Verifier]]:
        away = cls()
        away.sign, away.verify = _unavailable, _refused  # type: ignore[method-assign]
        return [away], [away]


SIGNERS: list[type[Key]] = [
    SignsText,
    SignsNormalized,
    SignsTheBeginning,
    SignsTruncated,
    RaisesForBadLength,
    AcceptsEverything,
    AnswersWithNone,
    GivesUpAfterOne,
    SharesItsState,
    HasNoVerifier,
    HasNoSigner,
    SharesAKid,
    OneKeyOfTwoNames,
    RotatesItsKid,
    LeaksDriverErrors,
    RefusesWhatItCannotTell,
]
