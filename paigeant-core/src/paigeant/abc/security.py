"""The contracts of signers and verifiers (JWS, RFC 7515)."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """One key that signs; safe for concurrent use.

    * **G01** ``sign`` returns the raw JOSE signature over exactly these bytes.
    * **G02** Temporary trouble raises ``SignerUnavailable``; nothing is published then. No answer within 5 s counts
      as that.
    * **G03** Some verifier of the same plugin has the same ``kid`` and ``alg`` and accepts it.
    """

    @property
    def kid(self) -> str: ...

    @property
    def alg(self) -> str: ...

    async def sign(self, signing_input: bytes) -> bytes: ...


class Verifier(Protocol):
    """One key that verifies, so that a key which cannot leave its vault still does.

    * **G04** ``verify`` is ``False`` for every other input, signature or length, and never raises for them. Where
      it cannot tell (its key is out of reach), it raises ``SignerUnavailable`` or ``BackendUnavailable``, never
      ``False``: the message is then tried again later, not refused. No answer within 5 s counts as that.
    * **G05** One ``kid`` is one key, one ``alg`` and one ``principal``.
    """

    @property
    def kid(self) -> str: ...

    @property
    def alg(self) -> str: ...

    @property
    def principal(self) -> str: ...

    async def verify(self, signing_input: bytes, signature: bytes) -> bool: ...
