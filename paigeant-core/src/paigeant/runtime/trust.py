"""Which keys sign and verify here: the configured signers, or the default of the transport's scope."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..envelope.chain import Verified
from ..envelope.security import Security
from ..errors import ConfigurationError
from .instances import PerInstance

if TYPE_CHECKING:
    from ..abc import Transport
    from ..plugins.registry import PluginRegistry

log = logging.getLogger("paigeant.runtime")

_memories: PerInstance[dict[Hashable, Verified]] = PerInstance(dict)


async def build_security(transport: Transport, registry: PluginRegistry, *, store: str) -> Security:
    """The security of a connected transport, from configuration.

    Signed by default: scope ``process`` uses a key of the process; ``host`` a 0600 key file beside the
    data, made on first use; ``network`` on loopback a per-user development key; any other network
    needs a key file, or ``PAIGEANT_SECURITY=insecure``.

    :param store: what takes part in the policy, for a fleet must be uniform in it.
    :raises ConfigurationError: no key can be used; names the remedies.
    """
    settings = registry.settings
    if settings.security == "insecure":
        log.warning("messages are not signed (PAIGEANT_SECURITY=insecure): whoever can write to the backend may do all")
        return Security.insecure(transport.namespace, store=store)
    default = _default_key(transport, development=settings.security in (None, "dev"))
    # Looked for twice: a process that makes it meanwhile may have published already.
    lost = _missing(transport, default) and await _used(transport) and _missing(transport, default)
    signers, verifiers = registry.signers(namespace=transport.namespace, default_key=default)
    if lost and not _missing(transport, default):
        log.warning(
            "%s was missing, and a new key is made, although there are messages or workflows already: what another key "
            "has signed will be refused; stop, and restore that file from the backup of the data",
            default,
        )
    security = Security.build(transport.namespace, signers=signers, verifiers=verifiers, store=store)
    return security.sharing(_memory(transport, security))


def check_profile(security: Security, profile: str | None) -> None:
    """Hold what the code gave to the profile of the configuration: in ``prod`` nothing goes unsigned.

    :raises ConfigurationError: it would.
    """
    if profile == "prod" and security.unsigned:
        raise ConfigurationError(
            "PAIGEANT_SECURITY is prod, and the security given in code is Security.insecure(...): leave security= out "
            "and run `paigeant keys init` for a key, or set PAIGEANT_SECURITY to another profile"
        )


def _memory(transport: Transport, security: Security) -> Verified:
    """What dispatcher, worker and client of one transport instance have verified or made, for all three: their
    keys come from one configuration, and a kid is one key (G05)."""
    return _memories.of(transport).setdefault(security.trust, Verified())


def _default_key(transport: Transport, *, development: bool) -> Path | Literal["process"] | None:
    if not development:
        return None
    if transport.scope == "process":
        return "process"
    if transport.scope == "host":
        if transport.data_directory is None:
            raise ConfigurationError(f"{type(transport).__name__} has scope 'host' but names no data_directory")
        return transport.data_directory / f"{transport.namespace}.key"
    return _user_state() / f"{transport.namespace}.dev.key" if transport.loopback else None


def _missing(transport: Transport, key: Path | Literal["process"] | None) -> bool:
    """Whether there is no key file beside the data, where it belongs."""
    return transport.scope == "host" and isinstance(key, Path) and not key.exists()


async def _used(transport: Transport) -> bool:
    """Whether there are messages, or entries in its own store."""
    with contextlib.suppress(ConfigurationError):  # not every backend can list its queues
        if any(found.ready or found.in_flight or found.delayed for found in (await transport.queues()).values()):
            return True
    store = transport.state_store()
    return store is not None and bool(await store.scan("", limit=1))


def _user_state() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "paigeant"
