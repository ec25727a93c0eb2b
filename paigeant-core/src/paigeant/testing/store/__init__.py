"""The suite for state stores."""

from __future__ import annotations

from .diagnosing import Diagnosing
from .indexes import Indexes
from .lifecycle import Lifecycle
from .revisions import Revisions


class StateStoreSuite(Lifecycle, Revisions, Indexes, Diagnosing):
    """Every rule of ``paigeant.abc.StateStore``.

    ::

        class TestMaildirStore(StateStoreSuite):
            capabilities = Capabilities(durable=True)

            def make(self, tmp_path: Path) -> MaildirStore:
                return MaildirStore(tmp_path, namespace=self.namespace)

    ``make`` returns a new instance, not connected; all instances of one test share their data. Where the
    backend can be out of reach, define ``make_unreachable`` too.
    """


__all__ = ["StateStoreSuite"]
