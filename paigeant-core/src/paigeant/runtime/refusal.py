"""Dead letters: refused bytes are kept untouched, with the class of the error beside them."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

from ..errors import MessageTooLarge
from ..model.message import Message, Publication
from ..model.names import dead_letter_queue
from .patience import patiently

if TYPE_CHECKING:
    from ..abc import Delivery
    from .environment import Environment

log = logging.getLogger("paigeant.runtime")

ERROR: Final = "paigeant-error"
DIGEST: Final = "paigeant-digest"
QUEUE: Final = "paigeant-queue"
REFUSED_AT: Final = "paigeant-refused-at"
SIZE: Final = "paigeant-size"
"""Of a body that could not be kept: only then is it there."""
ADDED: Final = (ERROR, DIGEST, QUEUE, REFUSED_AT, SIZE)


async def refuse(env: Environment, delivery: Delivery, error: str, *replies: Publication) -> None:
    """Make a dead letter of a delivery, and send ``replies`` with it.

    What the broker would not take again (its limit was lowered, or is not one for others) would come back for ever:
    then what tells of it is kept instead.
    """
    queue, letter = dead_letter_queue(delivery.queue), _letter(delivery, error, env.now())
    try:
        dead = Publication(queue, letter)
        await patiently(delivery.settle, env.clock, "settling a delivery", dead, *replies)
    except MessageTooLarge as exc:
        size = len(letter.body)
        log.warning(
            "of a refused message of queue %r only digest and size (%d) are kept: %s", delivery.queue, size, exc
        )
        added = {name: letter.headers[name] for name in ADDED if name in letter.headers}
        dead = Publication(queue, Message(letter.id, b"", {**added, SIZE: str(size)}))
        await patiently(delivery.settle, env.clock, "settling a delivery", dead)


def _letter(delivery: Delivery, error: str, now: float) -> Message:
    """Same id, headers and body; error class, digest, queue, time added."""
    message = delivery.message
    kept = {name: value for name, value in message.headers.items() if name != SIZE}
    added = {
        ERROR: error,
        DIGEST: hashlib.sha256(message.body).hexdigest(),
        QUEUE: delivery.queue,
        REFUSED_AT: f"{now:.3f}",
    }
    return Message(message.id, message.body, {**kept, **added})
