"""Registers what this distribution brings. Imports no client library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from paigeant.plugins import TransportPlugin, hookimpl

from .settings import RabbitMQSettings

if TYPE_CHECKING:
    from paigeant.abc import Transport

_SUMMARY = "RabbitMQ: quorum queues with publisher confirms; pair it with a state store"


def make_transport(settings: RabbitMQSettings) -> Transport:
    """The transport on the broker of ``settings.url``."""
    from .transport import RabbitMQTransport

    return RabbitMQTransport(settings)


@hookimpl
def paigeant_transports() -> Iterator[TransportPlugin[RabbitMQSettings]]:
    """The transport."""
    yield TransportPlugin("rabbitmq", _SUMMARY, RabbitMQSettings, make_transport, schemes=("amqp", "amqps"))
