"""The conformance kit for plugin authors, and time under a test's control.

Subclass a suite, say what the implementation can do, define ``make``; pytest does the rest. Needs the
extra ``testing``.
"""

from .clock import VirtualClock
from .plugin import PluginSuite
from .serializer import SerializerSuite
from .signer import SignerSuite
from .store import StateStoreSuite
from .transport import TransportSuite

__all__ = ["PluginSuite", "SerializerSuite", "SignerSuite", "StateStoreSuite", "TransportSuite", "VirtualClock"]
