"""Errors of nats-py, of the server and of sockets, as errors of Paigeant."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, cast

import nats.errors as client
import nats.js.errors as jetstream

from paigeant.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    MessageTooLarge,
    OutcomeUnknown,
    PaigeantError,
)

WRONG_LAST_SEQUENCE = 10071
DUPLICATE_IN_BATCH = 10201
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
NO_MESSAGE = 10037
STREAM_NAME_IN_USE = 10058
CONSUMER_EXISTS = (10013, 10105, 10148)
_DISABLED = {10039, 10076, 10035}
_FULL = {10002, 10023, 10026, 10027, 10028, 10047, 10077}
_TOO_LARGE = {10054}
_NO_PLACE = {10005}

_REMEDIES = {
    STREAM_NAME_IN_USE: "another program made it: rename that, or use another PAIGEANT_NAMESPACE",
    10052: "the server allows no such stream; it may limit what PAIGEANT_NATS_DEDUP_WINDOW asks for (120 s by default)",
    10069: "the server does not change a stream in this way",
    10065: "let no other stream take the subjects paigeant.<namespace>.>: see `nats stream ls --subject`",
    10074: "PAIGEANT_NATS_REPLICAS needs a cluster of as many servers",
    10113: "this account makes no stream without max_bytes, and one with it would discard messages: lift that",
    10121: "lower PAIGEANT_NATS_MAX_ACK_PENDING, or raise the server's limit",
}
_BAD_FILE = (FileNotFoundError, IsADirectoryError, PermissionError, client.InvalidUserCredentialsError, ValueError)
_ENABLE = (
    "start the server with JetStream (`nats-server -js`, or a `jetstream {}` block), or check PAIGEANT_NATS_DOMAIN"
)
_AUTH = "correct PAIGEANT_NATS_USERNAME, _PASSWORD, _TOKEN, _CREDS_FILE, _NKEY_FILE or the URL"
RIGHTS = "grant it to this user; 'On the server' in docs/transports/nats.md lists all that are needed"
_TLS = (
    "use tls:// for a server with TLS and nats:// for one without, and check PAIGEANT_NATS_TLS_CA, _HOSTNAME and _FIRST"
)


_NOTHING_HAPPENED: tuple[tuple[tuple[type[BaseException], ...], type[BackendError], str], ...] = (
    ((client.MaxPayloadError,), MessageTooLarge, "over max_payload of NATS at {where}; raise it there, or send less"),
    (
        (client.BadSubjectError, client.BadHeaderError, client.BadSubscriptionError, client.NotJSMessageError),
        BackendError,
        "NATS at {where} cannot be asked that: {exc}",
    ),
    (
        (client.NoRespondersError, jetstream.NoStreamResponseError, jetstream.ServiceUnavailableError),
        BackendUnavailable,
        "nothing answers for JetStream at NATS {where}: it is switched off, or the stream is gone or has no leader; "
        + _ENABLE,
    ),
    (
        (client.OutboundBufferLimitError, client.ConnectionReconnectingError),
        BackendUnavailable,
        "NATS at {where} is out of reach; reconnecting",
    ),
    (
        (client.ConnectionClosedError, client.ConnectionDrainingError),
        BackendUnavailable,
        "the connection to NATS at {where} was closed; it is opened anew",
    ),
)


class Refusal(Exception):
    """The server's JetStream answered with an error: nothing was done.

    :param code: its ``err_code``, which tells errors apart.
    """

    def __init__(self, error: Mapping[str, Any], subject: str) -> None:
        self.code = number(error.get("err_code"))
        self.description = str(error.get("description", ""))[:500]
        self.subject = subject
        super().__init__(f"{self.description} (error {self.code})")


def number(value: object) -> int:
    """An integer from foreign JSON, 0 if it is none."""
    return value if isinstance(value, int) else 0


def table(value: object) -> dict[str, Any]:
    """An object from foreign JSON, an empty one if it is none."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def tables(value: object) -> list[dict[str, Any]]:
    """A list of objects from foreign JSON, an empty one if it is none."""
    return [table(one) for one in cast("list[object]", value)] if isinstance(value, list) else []


def translate(exc: BaseException, where: str, *, write: bool) -> PaigeantError:
    """The error of ours that says what happened, with ``exc`` as its cause.

    :param where: the servers, without credentials.
    :param write: whether something may have been changed.
    """
    if isinstance(exc, PaigeantError):
        return exc
    error = _refused(exc, where) if isinstance(exc, Refusal) else _failed(exc, where, write)
    error.__cause__ = exc
    return error


def passes(exc: BaseException) -> bool:
    """Whether it may pass by itself, as the elections of a cluster do; a server without JetStream or room does not."""
    cause = exc.__cause__
    stays = isinstance(cause, client.NoRespondersError) or (isinstance(cause, Refusal) and cause.code in _FULL)
    return isinstance(exc, (BackendUnavailable, OutcomeUnknown)) and not stays


def _refused(exc: Refusal, where: str) -> PaigeantError:
    told = f"NATS at {where} refused {exc.subject}: {exc}"
    if exc.code in _DISABLED:
        return ConfigurationError(f"{told}; {_ENABLE}")
    if exc.code in _FULL:
        return BackendUnavailable(f"{told}; raise the limits of the account or of the stream, or free some storage")
    if exc.code in _NO_PLACE:
        return BackendUnavailable(
            f"{told}; start the server that is down, make room, or lower PAIGEANT_NATS_REPLICAS to the servers"
        )
    if exc.code in _TOO_LARGE:
        return MessageTooLarge(f"{told}; raise max_msg_size of the stream, or send less")
    if exc.code in _REMEDIES:
        return ConfigurationError(f"{told}; {_REMEDIES[exc.code]}")
    return BackendUnavailable(told)


def _failed(exc: BaseException, where: str, write: bool) -> PaigeantError:
    for kinds, make, text in _NOTHING_HAPPENED:
        if isinstance(exc, kinds):
            return make(text.replace("{where}", where).replace("{exc}", _text(exc)))
    text = _text(exc)
    if write:
        return OutcomeUnknown(f"NATS at {where} did not confirm: {text}; it may have happened")
    if isinstance(exc, TimeoutError):
        return BackendUnavailable(f"NATS at {where} did not answer in time (PAIGEANT_NATS_TIMEOUT)")
    return BackendUnavailable(f"NATS at {where} is out of reach: {text}")


def _text(exc: BaseException) -> str:
    try:
        return str(exc) or type(exc).__name__
    except Exception:  # some errors of the client cannot be shown
        return type(exc).__name__


def cannot_connect(exc: BaseException | None, where: str, *, tls: bool = False) -> PaigeantError:
    """Why the first connection failed.

    :param tls: it was to use TLS.
    """
    text = "" if exc is None else _text(exc)
    error: PaigeantError
    if isinstance(exc, PaigeantError):
        error = exc
    elif is_refused_login(exc):
        error = ConfigurationError(f"NATS at {where} refused the login ({text}); {_AUTH}")
    elif _slow(text):
        error = BackendUnavailable(
            f"NATS at {where} did not wait for the login ({text}); try again, or raise `authorization.timeout` there"
        )
    elif isinstance(exc, (ssl.SSLError, client.SecureConnWantedError, client.SecureConnRequiredError)):
        error = ConfigurationError(f"no TLS with NATS at {where} ({text}); {_TLS}")
    elif isinstance(exc, ImportError):
        error = ConfigurationError(
            f"NATS at {where}: nkeys and creds files need: pip install 'nats-py[nkeys]' ({text})"
        )
    elif isinstance(exc, _BAD_FILE) or type(exc).__module__.partition(".")[0] == "nkeys":
        error = ConfigurationError(
            f"NATS at {where}: a key file cannot be read ({text}); check PAIGEANT_NATS_CREDS_FILE and _NKEY_FILE"
        )
    elif isinstance(exc, TimeoutError) or exc is None:
        text = str(exc or "") or "no answer in time (PAIGEANT_NATS_CONNECT_TIMEOUT)"
        hint = ", and that PAIGEANT_NATS_TLS_FIRST is as the server's handshake_first" if tls else ""
        error = BackendUnavailable(f"NATS at {where}: {text}; check PAIGEANT_NATS_URL and that it runs{hint}")
    elif "expecting INFO" in text:
        error = BackendUnavailable(
            f"what answers at {where} does not greet as NATS does ({text}): check host and port of PAIGEANT_NATS_URL; "
            "6379 is Redis, 5672 RabbitMQ"
        )
    else:
        error = BackendUnavailable(f"NATS at {where}: {text}; check PAIGEANT_NATS_URL and that the server runs")
    if error is not exc:
        error.__cause__ = exc
    return error


def is_telling(exc: BaseException | None) -> bool:
    """Whether a failed connection is explained by this, whatever follows it."""
    return is_refused_login(exc) or isinstance(exc, (ssl.SSLError, client.SecureConnWantedError))


def is_refused_login(exc: BaseException | None) -> bool:
    """Whether the server did not like our credentials."""
    if isinstance(exc, client.AuthorizationError):
        return True
    text = str(exc).lower()
    return isinstance(exc, client.Error) and ("authorization" in text or "authentication" in text) and not _slow(text)


def _slow(text: str) -> bool:
    """Whether the server did not wait for the end of the login, which says nothing about it."""
    return "authentication timeout" in text.lower()


def forbidden(text: str, where: str) -> ConfigurationError:
    """What ``Permissions Violation for Publish to "..."`` means for us."""
    return ConfigurationError(f"NATS at {where}: {text}; {RIGHTS}")
