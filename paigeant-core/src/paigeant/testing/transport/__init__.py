"""The suite for transports."""

from __future__ import annotations

from .cancelling import Cancelling
from .diagnosing import Diagnosing
from .inspecting import Inspecting
from .leases import Leases
from .lifecycle import Lifecycle
from .publishing import Publishing
from .receiving import Receiving
from .refusing import Refusing
from .replying import Replying
from .settling import Settling


class TransportSuite(
    Lifecycle, Publishing, Receiving, Refusing, Replying, Leases, Settling, Cancelling, Inspecting, Diagnosing
):
    """Every rule of ``paigeant.abc.Transport``, ``Consumer`` and ``Delivery``.

    ::

        class TestMaildir(TransportSuite):
            capabilities = Capabilities(durable=True, renewable=True)

            def make(self, tmp_path: Path) -> Maildir:
                return Maildir(tmp_path, namespace=self.namespace)

    ``make`` returns a new instance, not connected; all instances of one test share a backend. Where the
    backend can be out of reach, define ``make_unreachable`` too. ``lease`` is the shortest that it can do.
    """


__all__ = ["TransportSuite"]
