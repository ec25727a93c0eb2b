"""Dead letters: refused bytes are kept untouched, with the class of the error beside them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from ..model.message import Message

if TYPE_CHECKING:
    from ..abc import Delivery

ERROR: Final = "paigeant-error"
DIGEST: Final = "paigeant-digest"
QUEUE: Final = "paigeant-queue"
REFUSED_AT: Final = "paigeant-refused-at"
ADDED: Final = (ERROR, DIGEST, QUEUE, REFUSED_AT)


def refused(delivery: Delivery, error: str, now: float) -> Message:
    """The dead letter of a delivery: same id, headers and body; error class, digest, queue, time added."""
    message = delivery.message
    added = {
        ERROR: error,
        DIGEST: hashlib.sha256(message.body).hexdigest(),
        QUEUE: delivery.queue,
        REFUSED_AT: f"{now:.3f}",
    }
    return Message(message.id, message.body, {**message.headers, **added})
