"""The contracts of the extension points. Their docstrings are normative; rule ids (``T07``, ``S03``)
are those of the conformance kit, ``paigeant.testing``."""

from .arguments import check_consume, check_limit
from .batching import Batcher
from .cancelling import see_through
from .clock import Clock, SystemClock
from .observer import Observer
from .security import Signer, Verifier
from .serializer import Serializer
from .store import StateStore
from .transport import Consumer, Delivery, Scope, Transport

__all__ = [
    "Batcher",
    "Clock",
    "Consumer",
    "Delivery",
    "Observer",
    "Scope",
    "Serializer",
    "Signer",
    "StateStore",
    "SystemClock",
    "Transport",
    "Verifier",
    "check_consume",
    "check_limit",
    "see_through",
]
