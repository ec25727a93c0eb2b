"""A delivery: held by the channel that received it, and by nobody once that is gone."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from paigeant.abc import Delivery
from paigeant.errors import ConfigurationError, LeaseLost
from paigeant.model.message import Message, Publication
from paigeant.model.store import Write

from .outlet import Group

if TYPE_CHECKING:
    from .lane import Grip


class _State(Enum):
    HELD = "held"
    SETTLING = "settling"
    DONE = "done"


class Outbound(Protocol):
    """What a delivery needs of its transport."""

    def check(self) -> None:
        """:raises BackendClosed: it is not connected."""
        ...

    async def publish_for(self, publications: Sequence[Publication], group: Group, received: int) -> None:
        """Publish, confirmed; the group follows them although the call be cancelled."""
        ...


class RabbitMQDelivery(Delivery):
    """One receipt of a message."""

    __slots__ = (
        "_grip",
        "_outbound",
        "_state",
        "_tag",
        "arrived",
        "deliveries",
        "due",
        "lease_token",
        "message",
        "queue",
    )

    def __init__(
        self, outbound: Outbound, grip: Grip, tag: int, queue: str, message: Message, deliveries: int | None, due: int
    ) -> None:
        self._outbound, self._grip, self._tag = outbound, grip, tag
        self._state = _State.HELD
        self.queue, self.message, self.deliveries, self.due = queue, message, deliveries, due
        self.lease_token = f"{grip.name}/{tag}"
        self.arrived = 0.0

    @property
    def held(self) -> bool:
        return self._grip.alive

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        """See ``Delivery.settle``: successors are confirmed first, then it is acknowledged."""
        self._outbound.check()
        if writes:
            raise ConfigurationError("RabbitMQ keeps no state: writes cannot ride along; pair it with a state store")
        await self._finish(publications, 0)

    async def release(self, delay: float = 0.0) -> None:
        """See ``Delivery.release``: a copy, delayed if need be, and then it is acknowledged."""
        self._outbound.check()
        await self.give_back(delay, self.deliveries or 0)

    async def give_back(self, delay: float, received: int) -> None:
        """Into the queue again as a copy that was received so many times before."""
        await self._finish([Publication(self.queue, self.message, delay)], received)

    def requeue(self) -> None:
        """Into the queue again at once, counted as a delivery."""
        if self._state is _State.HELD and self._grip.alive:
            self._state = _State.DONE
            self._grip.reject(self._tag)

    async def _finish(self, publications: Sequence[Publication], received: int) -> None:
        self._own()
        if not publications:
            self._state = _State.DONE
            return self._grip.acknowledge(self._tag)
        group = Group(self._confirmed, len(self.message.body))
        self._state = _State.SETTLING
        try:
            await self._outbound.publish_for(publications, group, received)
        finally:
            if self._state is _State.SETTLING and not group.under_way:
                self._state = _State.HELD
        if not self._is(_State.DONE):
            self._own()  # the successors are stored, and so is the message still: its duplicate will be recognised
        return None

    def _confirmed(self, stored: bool) -> None:
        """The successors are stored; or they are not, and nobody is left to try again."""
        self._state = _State.HELD
        if not stored:
            self.requeue()
        elif self._grip.alive:
            self._state = _State.DONE
            self._grip.acknowledge(self._tag)

    def _is(self, state: _State) -> bool:
        return self._state is state

    def _own(self) -> None:
        if self._state is not _State.HELD:
            raise LeaseLost(f"message {self.message.id!r} of queue {self.queue!r} is settled or being settled already")
        if not self._grip.alive:
            raise LeaseLost(
                f"message {self.message.id!r} of queue {self.queue!r} is not ours any more: "
                "the connection it came by is gone"
            )
