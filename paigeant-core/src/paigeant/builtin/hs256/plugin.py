"""Registers ``hs256``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from ...abc import Signer, Verifier
from ...errors import ConfigurationError
from ...plugins import PluginSettings, SignerPlugin, hookimpl


class Hs256Settings(PluginSettings):
    """Settings of ``hs256``.

    :param key_file: JWK Set, mode 0600; the first key signs, all verify (``PAIGEANT_HS256_KEY_FILE``).
    :param default_key: what to use without a key file; set by the core, never by a variable.
    :param principal: whom these keys stand for; ``None`` is ``namespace:<namespace>``.
    """

    key_file: Path | None = None
    default_key: Path | Literal["process"] | None = None
    principal: str | None = None


def _make(settings: Hs256Settings) -> tuple[Sequence[Signer], Sequence[Verifier]]:
    from .keyfile import ensure_key_file, read_key_file
    from .keys import Hs256Key, process_key

    if settings.key_file is not None:
        secrets = read_key_file(settings.key_file.expanduser())
    elif settings.default_key == "process":
        secrets = [process_key(settings.namespace)]
    elif isinstance(settings.default_key, Path):
        secrets = ensure_key_file(settings.default_key)
    else:
        raise ConfigurationError(
            "the signer 'hs256' has no key: run `paigeant keys init` once and set PAIGEANT_HS256_KEY_FILE to "
            "that file wherever the namespace runs, or accept unsigned messages with PAIGEANT_SECURITY=insecure"
        )
    principal = settings.principal or f"namespace:{settings.namespace}"
    keys = [Hs256Key(secret, principal) for secret in secrets]
    return keys[:1], keys


def _init(settings: Hs256Settings, path: Path) -> None:
    from .keyfile import generate_key_file

    generate_key_file(path)


@hookimpl
def paigeant_signers() -> Iterator[SignerPlugin[Hs256Settings]]:
    """Register ``hs256``."""
    yield SignerPlugin("hs256", "HMAC-SHA-256 with a key shared by the namespace", Hs256Settings, _make, _init)
