"""Whether this process can sign, and verify what it signs: the part of ``paigeant doctor`` about keys."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..model.finding import Finding, Severity

if TYPE_CHECKING:
    from ..abc import Transport
    from ..plugins.registry import PluginRegistry

_OWN_KEY = "run `paigeant keys init`, and give its key to every dispatcher and worker of the namespace"


async def check_keys(transport: Transport, registry: PluginRegistry, mode: str) -> list[Finding]:
    """Sign and verify a probe with the keys that a worker would use.

    :raises ConfigurationError: there is no key, others can read it, or it does not verify.
    """
    from ..runtime.environment import enter
    from ..runtime.trust import build_security

    if registry.settings.security == "insecure":
        return [_insecure()]
    own = _configured(registry, transport.namespace)
    security = await build_security(transport, registry, store=mode)
    async with AsyncExitStack() as stack:
        for member in (*security.signers, *security.verifiers.values()):
            await enter(stack, member)
        await security.self_test()
    kids = ", ".join(f"{signer.kid} ({signer.alg})" for signer in security.signers)
    found = [
        Finding(Severity.OK, "keys", f"signs with {kids} as {security.issuer}; {len(security.verifiers)} to verify")
    ]
    return found if own else [*found, _default_key(transport)]


def _configured(registry: PluginRegistry, namespace: str) -> bool:
    """Whether the signers have keys of their own, and need none that the core offers."""
    try:
        registry.signers(namespace=namespace, default_key=None)
    except ConfigurationError:
        return False
    return True


def _default_key(transport: Transport) -> Finding:
    """No key is configured, yet there is one: what that means depends on how far the transport reaches."""
    if transport.scope == "process":
        return Finding(Severity.OK, "key", "made for this process, and gone with it: no other can take part")
    if transport.scope == "host":
        where = f"beside the data, in {str(transport.data_directory)!r}"
        return Finding(Severity.OK, "key", f"made on first use {where}, for this user of this machine")
    return Finding(
        Severity.NOTE,
        "key",
        "a development key of this user of this machine, as the transport is on loopback: nobody else can take part",
        _OWN_KEY,
    )


def _insecure() -> Finding:
    return Finding(
        Severity.WARNING,
        "keys",
        "messages are not signed (PAIGEANT_SECURITY=insecure): whoever can write to the backend can do anything",
        f"unset PAIGEANT_SECURITY; {_OWN_KEY}",
    )
