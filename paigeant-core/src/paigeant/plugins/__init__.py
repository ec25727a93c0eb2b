"""What plugin authors import, and the registry that finds their plugins."""

from .catalogue import PluginInfo
from .descriptors import (
    Descriptor,
    ObserverPlugin,
    SerializerPlugin,
    SignerPlugin,
    StateStorePlugin,
    TransportPlugin,
)
from .hookspecs import hookimpl
from .registry import PluginRegistry
from .settings import CommaSeparated, CoreSettings, PluginSettings
from .urls import split_url

__all__ = [
    "CommaSeparated",
    "CoreSettings",
    "Descriptor",
    "ObserverPlugin",
    "PluginInfo",
    "PluginRegistry",
    "PluginSettings",
    "SerializerPlugin",
    "SignerPlugin",
    "StateStorePlugin",
    "TransportPlugin",
    "hookimpl",
    "split_url",
]
