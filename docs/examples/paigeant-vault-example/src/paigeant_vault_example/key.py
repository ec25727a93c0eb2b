"""A key that is only ever named here: the service signs and verifies with it."""

from __future__ import annotations

import asyncio
import base64
import json
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, cast
from urllib.parse import urlsplit

from paigeant.errors import BackendUnavailable, ConfigurationError, SignerUnavailable


class Refused(Exception):
    """The service answered, but not with what was asked for; the text says why."""


class Service:
    """The HTTP service that has the keys. Every call has its own connection, so none waits for another."""

    def __init__(self, url: str, token: str, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError("PAIGEANT_VAULT_URL must be http://host:port or https://host:port")
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._timeout = timeout
        self.place = f"the vault at {parts.hostname}:{parts.port or parts.scheme}"

    async def call(self, path: str, **fields: bytes) -> Any:
        """Post ``fields``; the answer, whatever it is.

        :raises Refused: it was not reached, or did not answer with JSON and 200.
        """
        return await asyncio.to_thread(self._post, path, fields)

    def _post(self, path: str, fields: dict[str, bytes]) -> Any:
        body = json.dumps({name: base64.b64encode(value).decode() for name, value in fields.items()})
        connection = self._kind(self._host, self._port, timeout=self._timeout)
        try:
            connection.request("POST", path, body, self._headers)
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise Refused(f"{self.place} answered {answer.status} {answer.reason}")
                return json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as exc:
            raise Refused(f"{self.place} did not answer: {exc or type(exc).__name__}") from exc
        finally:
            connection.close()


class VaultKey:
    """Signer and verifier of one key in the service."""

    alg = "HS256"

    def __init__(self, service: Service, name: str, *, principal: str) -> None:
        self._service, self._name = service, name
        self.kid, self.principal = f"vault:{name}", principal

    async def sign(self, signing_input: bytes) -> bytes:
        """See ``Signer.sign``."""
        try:
            answer = await self._service.call(f"/keys/{self._name}/sign", input=signing_input)
            return base64.b64decode(_member(answer, "signature", str), validate=True)
        except (Refused, ValueError) as exc:
            raise SignerUnavailable(f"key {self.kid!r}: {exc}") from exc

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """See ``Verifier.verify``.

        A vault that does not answer says nothing of the signature: ``False`` would make dead letters of good messages.

        :raises BackendUnavailable: the vault did not answer; the message goes back to its queue.
        """
        try:
            answer = await self._service.call(f"/keys/{self._name}/verify", input=signing_input, signature=signature)
            return _member(answer, "valid", bool) is True
        except Refused as exc:
            raise BackendUnavailable(f"key {self.kid!r}: {exc}") from exc


def _member(answer: Any, name: str, kind: type[Any]) -> Any:
    value = cast("dict[str, Any]", answer).get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise Refused(f"the vault answered without {name!r}")
    return value
