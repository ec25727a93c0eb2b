"""Errors of the client library, as errors of Paigeant. The only place that knows both."""

from __future__ import annotations

import asyncio
import os
import re
import ssl

from aiormq import exceptions as amqp
from pamqp.exceptions import PAMQPException

from paigeant.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    MessageTooLarge,
    OutcomeUnknown,
    PaigeantError,
)

_SETTING = "PAIGEANT_RABBITMQ_URL"
GRANT = r"rabbitmqctl set_permissions -p VHOST USER '^paigeant\.' '^(paigeant\.|amq\.default$)' '^paigeant\.'"
"""The rights that a user needs: to configure, to write and to read."""
NOT_ALLOWED = 530
_LIMIT = re.compile(r"message size \d+ is larger than .*max size (?P<limit>\d+)")
_OTHER_ARGUMENTS = re.compile(r"inequivalent arg '(?P<arg>[^']*)' for queue '(?P<queue>[^']*)'.*", re.DOTALL)

_FITTING = {
    "x-queue-type": "set PAIGEANT_RABBITMQ_QUEUE_TYPE to what it is, or ",
    "x-consumer-timeout": "set PAIGEANT_RABBITMQ_CONSUMER_TIMEOUT to what it has, in seconds, or ",
}
"""Settings that make the declaration fit the queue, by the argument that differs."""

TRANSIENT: tuple[type[Exception], ...] = (
    OSError,
    asyncio.TimeoutError,
    amqp.AMQPError,
    PAMQPException,
    RuntimeError,
)
"""Every error of the library and of the network that may come out of a call."""
CONNECTING: tuple[type[Exception], ...] = (*TRANSIENT, ValueError)
TROUBLE: tuple[type[Exception], ...] = (*TRANSIENT, PaigeantError)


def connecting(exc: BaseException, where: str, goodbye: tuple[int, str] | None = None) -> PaigeantError:
    """Why there is no connection to ``where`` (host and port, without credentials).

    :param goodbye: code and reason with which the broker closed it, if it did.
    """
    if wrong := _wrong_setting(exc, goodbye):
        return ConfigurationError(f"RabbitMQ at {where}: {wrong}")
    if goodbye is not None:
        remedy = "close some connections, or raise the limit" if _full(goodbye[1]) else "see the log of the broker"
        return BackendUnavailable(f"RabbitMQ at {where} closed the connection: {goodbye[1]}; {remedy}")
    what = "no answer" if isinstance(exc, asyncio.TimeoutError) else _text(exc)
    asked = f"is it running, and is {_SETTING} right?"
    if isinstance(exc, amqp.AMQPConnectionError):  # it was reached, and hung up
        asked += " Or does the server speak TLS? Then amqps://"
    return BackendUnavailable(f"RabbitMQ at {where} is not reached ({what}); {asked}")


def _full(reason: str) -> bool:
    """Whether the broker has as many connections as it may, which passes."""
    return "limit" in reason and "not found" not in reason


def _wrong_setting(exc: BaseException, goodbye: tuple[int, str] | None) -> str:
    """What no waiting mends, with its remedy; or nothing."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted ({getattr(exc, 'verify_message', exc)}); name the authority that signed "
            "it in PAIGEANT_RABBITMQ_TLS_CA"
        )
    if isinstance(exc, ssl.SSLError):
        reason = getattr(exc, "reason", None) or exc
        return f"no TLS there ({reason}); use amqp:// in {_SETTING}, or the port of amqps (5671 by default)"
    if isinstance(exc, (amqp.ProbableAuthenticationError, amqp.AuthenticationError)):
        return (
            f"user or password is wrong (ACCESS_REFUSED); correct {_SETTING}, PAIGEANT_RABBITMQ_USERNAME or "
            "PAIGEANT_RABBITMQ_PASSWORD. 'guest' may connect from localhost only"
        )
    if goodbye is not None and goodbye[0] == NOT_ALLOWED and not _full(goodbye[1]):
        return (
            f"the virtual host does not exist, or the user has no rights in it ({goodbye[1]}); correct the path of "
            f"{_SETTING} or PAIGEANT_RABBITMQ_VHOST, or run: {GRANT}"
        )
    if goodbye is None and isinstance(exc, (amqp.ProtocolSyntaxError, amqp.IncompatibleProtocolError, ValueError)):
        return f"no AMQP 0.9.1 there ({_text(exc)}); is it the port of another protocol, or of TLS? See {_SETTING}"
    return ""


def halted(where: str, reason: str) -> str:
    """What an alarm of the broker means, with the remedy."""
    return f"RabbitMQ at {where} takes no messages: {reason}; free memory or disk space there (rabbitmqctl status)"


def calling(exc: BaseException, where: str, what: str, *, sent: bool = False) -> PaigeantError:
    """Why a call failed.

    :param what: the call, for people, such as ``declaring queue 'x'``.
    :param sent: a write was on its way, whose fate is unknown if the connection broke.
    """
    if isinstance(exc, PaigeantError):
        return exc
    text = _text(exc)
    if isinstance(exc, amqp.ChannelPreconditionFailed):
        return _precondition(text, where, what, sent=sent)
    if isinstance(exc, amqp.ChannelAccessRefused):
        return ConfigurationError(f"RabbitMQ at {where} refuses {what}: {text}; give the user its rights: {GRANT}")
    if isinstance(exc, amqp.ChannelLockedResource):
        return ConfigurationError(
            f"RabbitMQ at {where} refuses {what}: {text}; end the connection that owns it exclusively"
        )
    if isinstance(exc, (amqp.ConnectionNotImplemented, amqp.MethodNotImplemented)):
        return ConfigurationError(f"RabbitMQ at {where} cannot do {what}: {text}; RabbitMQ 3.10 or newer is needed")
    if isinstance(exc, asyncio.TimeoutError):
        text = "no answer in time; see PAIGEANT_RABBITMQ_TIMEOUT"
    elif isinstance(exc, amqp.ConnectionResourceError):
        text += "; the broker lacks resources"
    kind: type[BackendError] = OutcomeUnknown if sent else BackendUnavailable
    return kind(f"RabbitMQ at {where}, {what}: {text}")


def publishing(exc: BaseException, where: str, size: int) -> PaigeantError:
    """Why a message of ``size`` bytes, which was under way, is not confirmed.

    One that is too large ends the channel for all: the others are stored already, or can be repeated.
    """
    found = _LIMIT.search(_text(exc)) if isinstance(exc, amqp.ChannelPreconditionFailed) else None
    if found and size <= int(found["limit"]):
        return OutcomeUnknown(f"RabbitMQ at {where} closed the channel for the message of somebody else: {_text(exc)}")
    return calling(exc, where, "publishing", sent=True)


def differing(exc: BaseException | None) -> str | None:
    """The argument in which a queue that exists differs from the one declared, if that is what was refused."""
    found = _OTHER_ARGUMENTS.search(_text(exc)) if isinstance(exc, amqp.ChannelPreconditionFailed) else None
    return found and found["arg"]


def missing(exc: BaseException | None) -> bool:
    """Whether what was asked for does not exist. A classic queue whose node is away does, with all its messages."""
    return isinstance(exc, amqp.ChannelNotFoundEntity) and "is down or inaccessible" not in _text(exc)


def _precondition(text: str, where: str, what: str, *, sent: bool) -> PaigeantError:
    if found := _OTHER_ARGUMENTS.search(text):
        return ConfigurationError(
            f"queue {found['queue']!r} at RabbitMQ {where} exists with another {found['arg']!r} ({found[0]}); "
            f"{_FITTING.get(found['arg'], '')}let it run empty and delete it: rabbitmqctl delete_queue {found['queue']}"
        )
    if _LIMIT.search(text):
        return MessageTooLarge(
            f"RabbitMQ at {where} refuses {what}: {text}; lower PAIGEANT_RABBITMQ_MAX_MESSAGE to its limit"
        )
    if "timed out" in text:
        return BackendUnavailable(
            f"RabbitMQ at {where}, {what}: {text}; raise consumer_timeout of the broker above the longest activity, "
            "or use a state store (PAIGEANT_STATE_STORE)"
        )
    kind: type[BackendError] = OutcomeUnknown if sent else BackendError
    return kind(f"RabbitMQ at {where} refuses {what}: {text}")


def _text(exc: BaseException) -> str:
    """What the server or the system said, without the client's wrapping."""
    if isinstance(exc, OSError) and not isinstance(exc, amqp.AMQPError) and exc.strerror:
        return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
    said = [str(arg) for arg in exc.args if arg is not None and not isinstance(arg, int)]
    return " ".join(said) or type(exc).__name__
