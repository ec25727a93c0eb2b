"""One receipt of a message: settled or released by whoever holds its lease."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from paigeant.abc import Delivery
from paigeant.errors import BackendUnavailable, ConfigurationError, OutcomeUnknown
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

from .api import SECOND
from .leases import Lease
from .sending import Origin, Outgoing, Sender

if TYPE_CHECKING:
    from .session import Session


class Settler(Protocol):
    """How deliveries are settled."""

    async def settle(self, delivery: NatsDelivery, successors: Sequence[Outgoing]) -> None:
        """Publish the successors, then acknowledge.

        :raises LeaseLost: it is not owned any more.
        """
        ...


class NatsDelivery(Delivery):
    """See ``Delivery``.

    :param subject: of the message in the stream.
    :param sequence: of the message in the stream.
    """

    __slots__ = (
        "_session",
        "_settler",
        "deliveries",
        "lease",
        "lease_token",
        "message",
        "queue",
        "sequence",
        "subject",
    )

    def __init__(
        self,
        session: Session,
        settler: Settler,
        queue: str,
        message: Message,
        lease: Lease,
        *,
        subject: str,
        sequence: int,
        deliveries: int,
    ) -> None:
        self._session, self._settler = session, settler
        self.queue, self.message, self.deliveries = queue, message, deliveries
        self.lease, self.lease_token = lease, lease.token
        self.subject, self.sequence = subject, sequence

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Delivery.settle``."""
        self._session.link.check()
        self.lease.check()
        origin = Origin(self.queue, self.message.id, self.sequence, len(self.message.body))
        successors: list[Outgoing] = []
        if publications or writes:
            successors = await Sender(self._session).prepare(publications, writes, origin)
        await self._settler.settle(self, successors)
        self.lease.end()

    async def release(self, delay: float = 0.0) -> None:
        """See ``Delivery.release``."""
        self._session.link.check()
        self.lease.check()
        if not 0 <= delay < 1e9:
            raise ConfigurationError(f"a delay is 0 or more seconds, not {delay!r}")
        await nak(self._session, self.lease, delay)


class SuccessorsFirst:
    """Stores the successors, then acknowledges. A crash between the two leaves a repeat, and loses nothing.

    So whoever's acknowledgement removes a message, its successors are stored.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._sender = session, Sender(session)

    async def settle(self, delivery: NatsDelivery, successors: Sequence[Outgoing]) -> None:
        if successors:
            await self._sender.send(successors)
            delivery.lease.check()
        delivery.lease.acknowledging = True
        await self._session.link.request(delivery.lease.reply, write=True)


async def nak(session: Session, lease: Lease, delay: float = 0.0) -> None:
    """Give a delivery back. From the moment it is sent it is not ours, whatever becomes of the answer."""
    payload = b"-NAK" if delay == 0 else b"-NAK " + json.dumps({"delay": int(delay * SECOND)}).encode()
    reply = lease.reply
    lease.end()
    try:
        await session.link.request(reply, payload, write=True)
    except (OutcomeUnknown, BackendUnavailable):
        if session.link.is_up:
            raise  # it comes back when the lease ends, at the latest
