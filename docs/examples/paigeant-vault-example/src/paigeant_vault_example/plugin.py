"""Registers the signer. This module is imported to list plugins; only the factory imports what costs time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import SecretStr

from paigeant.abc import Signer, Verifier
from paigeant.errors import ConfigurationError
from paigeant.plugins import PluginSettings, SignerPlugin, hookimpl


class VaultSettings(PluginSettings):
    """``PAIGEANT_VAULT_URL``: of the service, ``http://host:port``.

    :param token: what the service knows this process by (``PAIGEANT_VAULT_TOKEN``).
    :param key: name of the key there.
    :param timeout: seconds that the service has to answer; less than the core's 5 s for a signature.
    """

    token: SecretStr
    key: str = "records"
    timeout: float = 2.0


def make(settings: VaultSettings) -> tuple[Sequence[Signer], Sequence[Verifier]]:
    """One key, which signs and verifies."""
    from .key import Service, VaultKey

    if settings.url is None:
        raise ConfigurationError("PAIGEANT_VAULT_URL is not set; set it to the address of the vault: http://host:port")
    service = Service(settings.url, settings.token.get_secret_value(), settings.timeout)
    key = VaultKey(service, settings.key, principal=f"namespace:{settings.namespace}")
    return [key], [key]


@hookimpl
def paigeant_signers() -> Iterator[SignerPlugin[VaultSettings]]:
    """The signer."""
    yield SignerPlugin("vault", "HMAC-SHA-256 with a key that stays in a vault", VaultSettings, make)
