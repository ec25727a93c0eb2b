"""Every exception of the client library becomes an error of Paigeant."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl

import pytest
from aio_pika import exceptions as aio_pika_exceptions
from aiormq import exceptions as amqp
from pamqp import exceptions as pamqp_exceptions

from paigeant.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    MessageTooLarge,
    OutcomeUnknown,
    PaigeantError,
)
from paigeant_rabbitmq import errors


def exceptions() -> list[type[Exception]]:
    modules = (amqp, aio_pika_exceptions, pamqp_exceptions)
    found = {kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)}
    return sorted((kind for kind in found if issubclass(kind, Exception)), key=lambda kind: kind.__name__)


def made(kind: type[Exception]) -> Exception:
    """Without its constructor, as some take frames."""
    exc = kind.__new__(kind)
    exc.args = ("said so",)
    return exc


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_library_is_caught_and_mapped(kind: type[Exception]) -> None:
    if kind in (asyncio.CancelledError, Exception):
        return
    assert issubclass(kind, errors.CONNECTING), f"{kind.__name__} would cross the boundary"
    for error in (errors.connecting(made(kind), "h:1"), errors.calling(made(kind), "h:1", "x", sent=True)):
        assert isinstance(error, PaigeantError)
        assert "h:1" in str(error)


CLOSED = ConnectionResetError(104, "reset")


@pytest.mark.parametrize(
    ("exc", "goodbye", "kind", "said"),
    [
        (ConnectionRefusedError(111, "x"), None, BackendUnavailable, "Connection refused.*PAIGEANT_RABBITMQ_URL"),
        (socket.gaierror(-2, "Name or service not known"), None, BackendUnavailable, "Name or service not known"),
        (TimeoutError(), None, BackendUnavailable, "no answer"),
        (amqp.ProbableAuthenticationError("ACCESS_REFUSED"), None, ConfigurationError, "PAIGEANT_RABBITMQ_PASSWORD"),
        (amqp.InvalidFrameError("?"), (530, "vhost x not found"), ConfigurationError, "vhost x not found.*VHOST"),
        (amqp.InvalidFrameError("?"), (530, "connection limit (3) is reached"), BackendUnavailable, "raise the limit"),
        (amqp.InvalidFrameError("?"), (530, "vhost limits not found"), ConfigurationError, "VHOST"),
        (amqp.InvalidFrameError("?"), (541, "INTERNAL_ERROR"), BackendUnavailable, "INTERNAL_ERROR"),
        (amqp.InvalidFrameError("?"), None, ConfigurationError, "no AMQP"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), None, ConfigurationError, "no TLS there.*amqp://"),
        (ssl.SSLCertVerificationError(1, "x"), None, ConfigurationError, "PAIGEANT_RABBITMQ_TLS_CA"),
    ],
)
def test_connecting(exc: Exception, goodbye: tuple[int, str] | None, kind: type[PaigeantError], said: str) -> None:
    error = errors.connecting(exc, "h:1", goodbye)
    assert type(error) is kind
    with pytest.raises(kind, match=said):
        raise error


@pytest.mark.parametrize(
    ("exc", "sent", "kind", "said"),
    [
        (CLOSED, True, OutcomeUnknown, "reset"),
        (CLOSED, False, BackendUnavailable, "reset"),
        (TimeoutError(), True, OutcomeUnknown, "PAIGEANT_RABBITMQ_TIMEOUT"),
        (amqp.ChannelInvalidStateError("closed"), False, BackendUnavailable, "closed"),
        (amqp.ChannelAccessRefused("no"), False, ConfigurationError, "set_permissions"),
        (amqp.ChannelLockedResource("no"), False, ConfigurationError, "exclusively"),
        (amqp.ConnectionNotImplemented("no"), False, ConfigurationError, "3.10"),
        (
            amqp.ChannelPreconditionFailed("inequivalent arg 'x-queue-type' for queue 'paigeant.n.q' in vhost"),
            False,
            ConfigurationError,
            "'paigeant.n.q'.*PAIGEANT_RABBITMQ_QUEUE_TYPE.*delete_queue",
        ),
        (
            amqp.ChannelPreconditionFailed("inequivalent arg 'x-delivery-limit' for queue 'paigeant.n.q' in vhost"),
            False,
            ConfigurationError,
            r"\); let it run empty and delete it",
        ),
        (
            amqp.ChannelPreconditionFailed("inequivalent arg 'x-consumer-timeout' for queue 'paigeant.n.q' in vhost"),
            False,
            ConfigurationError,
            "set PAIGEANT_RABBITMQ_CONSUMER_TIMEOUT .*or let it run empty",
        ),
        (amqp.ChannelPreconditionFailed("message size 9 is larger than configured max size 8"), True, MessageTooLarge,
         "PAIGEANT_RABBITMQ_MAX_MESSAGE"),
        (amqp.ChannelPreconditionFailed("delivery acknowledgement timed out"), False, BackendUnavailable,
         "consumer_timeout"),
        (amqp.ChannelPreconditionFailed("unknown delivery tag 1"), False, BackendError, "unknown delivery tag"),
    ],
)  # fmt: skip
def test_calling(exc: Exception, sent: bool, kind: type[PaigeantError], said: str) -> None:
    error = errors.calling(exc, "h:1", "publishing", sent=sent)
    assert type(error) is kind
    with pytest.raises(kind, match=said):
        raise error


def test_our_own_errors_stay_as_they_are() -> None:
    error = BackendUnavailable("so")
    assert errors.calling(error, "h:1", "x") is error
