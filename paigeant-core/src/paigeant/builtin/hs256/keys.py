"""One shared key that signs and verifies."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from base64 import urlsafe_b64encode

KEY_BYTES = 32
"""RFC 7518, 3.2: a key must be at least as long as the hash."""


class Hs256Key:
    """Signer and verifier of JWS ``HS256`` (RFC 7518, 3.2).

    :param secret: at least 32 bytes.
    :param principal: whom the key stands for. It authenticates a namespace, not a single worker.
    """

    alg = "HS256"

    def __init__(self, secret: bytes, principal: str) -> None:
        self._secret = secret
        self.kid = key_id(secret)
        self.principal = principal

    async def sign(self, signing_input: bytes) -> bytes:
        """The raw signature, 32 bytes."""
        return hmac.digest(self._secret, signing_input, "sha256")

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """Whether it is the signature of these bytes, in constant time; never raises."""
        try:
            return hmac.compare_digest(hmac.digest(self._secret, signing_input, "sha256"), signature)
        except TypeError:
            return False


def base64url(data: bytes) -> str:
    """RFC 7515, 2: without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def key_id(secret: bytes) -> str:
    """``hs256:`` and 16 characters of the JWK thumbprint (RFC 7638): 96 bits, which is enough to tell keys apart."""
    thumbprint = hashlib.sha256(f'{{"k":"{base64url(secret)}","kty":"oct"}}'.encode()).digest()
    return f"hs256:{base64url(thumbprint)[:16]}"


_process_keys: dict[tuple[int, str], bytes] = {}


def process_key(namespace: str) -> bytes:
    """A random key that this process keeps for the namespace; a forked child has another one."""
    return _process_keys.setdefault((os.getpid(), namespace), secrets.token_bytes(KEY_BYTES))
