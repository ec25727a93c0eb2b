"""Which keys sign and verify here: the configured signers, or the default of the transport's scope."""

from __future__ import annotations

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


_memories: PerInstance[dict[Hashable, Verified]] = PerInstance(dict)


def build_security(transport: Transport, registry: PluginRegistry, *, store: str) -> Security:
    """The security of a connected transport, from configuration.

    Signed by default: scope ``process`` uses a key of the process; ``host`` a 0600 key file beside the
    data, made on first use; ``network`` on loopback a per-user development key; any other network
    needs a key file, or ``PAIGEANT_SECURITY=insecure``.

    :param store: what takes part in the policy, for a fleet must be uniform in it.
    :raises ConfigurationError: no key can be used; names the remedies.
    """
    settings = registry.settings
    if settings.security == "insecure":
        return Security.insecure(transport.namespace, store=store)
    default = _default_key(transport, development=settings.security in (None, "dev"))
    signers, verifiers = registry.signers(namespace=transport.namespace, default_key=default)
    security = Security.build(transport.namespace, signers=signers, verifiers=verifiers, store=store)
    return security.sharing(_memory(transport, security))


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


def _user_state() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "paigeant"
