"""From a name to a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..abc import Transport


def get_transport(name: str | None = None, *, namespace: str | None = None) -> Transport:
    """A new, unconnected transport.

    :param name: a plugin name (``sqlite``), an instance (``redis:billing``) or a URL; default
        ``PAIGEANT_TRANSPORT``, else ``inmemory``.
    :param namespace: default ``PAIGEANT_NAMESPACE``, else ``default``.
    :raises PluginError: it is not installed, broken, or provided twice.
    :raises ConfigurationError: its settings are wrong.
    """
    from ..plugins.registry import PluginRegistry

    return PluginRegistry().transport(name, namespace=namespace)
