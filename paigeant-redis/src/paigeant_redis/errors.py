"""Errors of redis-py, of the server and of the network, as errors of Paigeant."""

from __future__ import annotations

import re
import ssl
from typing import Final

from redis import exceptions as client

from paigeant.errors import (
    BackendCorrupt,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    PaigeantError,
)

_UNAVAILABLE: Final = {
    "OOM": "is out of memory (maxmemory) and refuses to store more; raise maxmemory or free some",
    "MISCONF": "cannot save its data and refuses writes; see its log, usually the disk is full",
    "READONLY": "is a replica now; looking for the primary",
    "LOADING": "is loading its data",
    "BUSY": "is busy with a slow script; `SCRIPT KILL` ends it",
    "MASTERDOWN": "is a replica without its primary; looking for the primary",
    "CLUSTERDOWN": "belongs to a cluster that is down; see `CLUSTER INFO`",
    "MOVED": "no longer serves this namespace; looking for the node that does",
    "ASK": "is handing this namespace to another node; repeat when that is done",
    "TRYAGAIN": "is handing this namespace to another node; repeat when that is done",
    "NOREPLICAS": "lacks replicas (min-replicas-to-write) and refuses writes; see its replicas",
    "NOMASTERLINK": "is a replica without its primary; looking for the primary",
    "UNBLOCKED": "is a replica now; looking for the primary",
    "KILLED": "ended a script of ours for somebody's `SCRIPT KILL`, before it had changed anything",
}
_WRONG: Final = {
    "NOAUTH": "asks for a password; set PAIGEANT_REDIS_PASSWORD",
    "WRONGPASS": "refuses the login; correct PAIGEANT_REDIS_USERNAME and PAIGEANT_REDIS_PASSWORD; in a URL, special "
    "characters of a password are percent-encoded",
    "NOPERM": "refuses a command or key to this user; grant it, for example: ACL SETUSER <name> on >... "
    "resetchannels ~{paigeant:* &{paigeant:* +@all -@admin -@dangerous +info",
    "CROSSSLOT": "is a cluster, and not used as one; set PAIGEANT_REDIS_MODE=cluster",
    "DB": "has no database of this number; correct PAIGEANT_REDIS_DB, or the number at the end of the URL",
    "SENTINEL": "is no server for data, but a Sentinel, as it seems; set PAIGEANT_REDIS_MODE=sentinel",
    "DENIED": "runs in protected mode and is reached from outside; give it a password or bind it",
}
_CODES: Final[dict[type[Exception], str]] = {
    client.OutOfMemoryError: "OOM",
    client.ReadOnlyError: "READONLY",
    client.BusyLoadingError: "LOADING",
    client.MasterDownError: "MASTERDOWN",
    client.ClusterDownError: "CLUSTERDOWN",
    client.ClusterError: "CLUSTERDOWN",
    client.SlotNotCoveredError: "CLUSTERDOWN",
    client.RedisClusterException: "CLUSTERDOWN",
    client.MovedError: "MOVED",
    client.AskError: "ASK",
    client.TryAgainError: "TRYAGAIN",
    client.AuthenticationWrongNumberOfArgsError: "WRONGPASS",
    client.AuthenticationError: "WRONGPASS",
    client.AuthorizationError: "NOPERM",
    client.ExternalAuthProviderError: "WRONGPASS",
    client.NoPermissionError: "NOPERM",
    client.ClusterCrossSlotError: "CROSSSLOT",
    client.CrossSlotTransactionError: "CROSSSLOT",
    client.NoScriptError: "NOSCRIPT",
}
_ELSEWHERE: Final = {"READONLY", "MOVED", "MASTERDOWN", "CLUSTERDOWN", "NOMASTERLINK", "UNBLOCKED", "LOADING"}
_PHRASES: Final = {
    re.compile("ACL failure"): "NOPERM",
    re.compile("DB index is out of range"): "DB",
    re.compile("killed by user"): "KILLED",
    re.compile("unknown command [`'\"]?(?:EVALSHA|EVAL|SELECT|TIME)\\b"): "SENTINEL",
}
"""Refusals without a code."""
_CODE = re.compile(r"-?\b([A-Z]{3,})\b")
_HUNG_UP = re.compile(r"reset|closed|lost|broken pipe", re.IGNORECASE)


def code_of(exc: BaseException) -> str:
    """The code with which the server refused, such as ``OOM``; empty if it did not."""
    status = getattr(exc, "status_code", None)
    if isinstance(status, str) and status != "ERR":
        return status
    for kind in type(exc).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    if isinstance(exc, client.ResponseError):
        return code_in(str(exc))
    return ""


def code_in(text: str) -> str:
    """The code in an error text; scripts of Redis 6.2 put their own words around it."""
    for phrase, code in _PHRASES.items():
        if phrase.search(text):
            return code
    known = _UNAVAILABLE.keys() | _WRONG.keys() | {"WRONGTYPE", "NOSCRIPT", "NOGROUP"}
    return next((word for word in _CODE.findall(text) if word in known), "")


def refused(exc: BaseException) -> bool:
    """Whether the server answered, and nothing was done; otherwise the connection failed."""
    return bool(code_of(exc)) or isinstance(exc, client.ResponseError)


def hung_up(exc: BaseException) -> bool:
    """Whether the other side ended the connection."""
    return isinstance(exc, (client.ConnectionError, OSError)) and bool(_HUNG_UP.search(str(exc)))


def unknown_command(exc: BaseException) -> bool:
    """Whether the server has no such command: it is none of the kind that was expected."""
    return isinstance(exc, client.ResponseError) and "unknown command" in str(exc)


def no_cluster(exc: BaseException) -> bool:
    """Whether the server is not part of a cluster; one that is may be busy, or loading its data."""
    return unknown_command(exc) or (isinstance(exc, client.ResponseError) and "cluster support disabled" in str(exc))


def for_good(exc: BaseException) -> bool:
    """Whether the server refused us, and every other would: a wrong login, for example."""
    return code_of(exc) in _WRONG


def elsewhere(code: str) -> bool:
    """Whether this server is not, or not yet, the one to ask."""
    return code in _ELSEWHERE


def translate(exc: BaseException, where: str, hint: str = "check that it runs and PAIGEANT_REDIS_URL") -> PaigeantError:
    """The error of ours that says what happened, and that nothing was done.

    :param where: the server, as host and port.
    :param hint: what to do if it was not reached.
    """
    if isinstance(exc, PaigeantError):
        return exc
    if code := code_of(exc):
        return explain(code, str(exc), where)
    if _of_tls(exc):
        return ConfigurationError(
            f"Redis at {where}: TLS failed ({exc}); rediss:// is TLS and redis:// is not, and PAIGEANT_REDIS_TLS_CA "
            "names the certificates to trust"
        )
    if isinstance(exc, client.InvalidResponse):
        return BackendUnavailable(
            f"Redis at {where}: {plain(exc)}; check host and port of PAIGEANT_REDIS_URL: 4222 is NATS, 5672 RabbitMQ"
        )
    if isinstance(exc, (client.ConnectionError, client.TimeoutError, OSError, TimeoutError)):
        return BackendUnavailable(f"Redis at {where} is not reached ({plain(exc)}); {hint}")
    return BackendError(f"Redis at {where}: {plain(exc)}")


def _of_tls(exc: BaseException) -> bool:
    """The library tells it as a lost connection; its text proves nothing, for it holds the name of the host."""
    connecting = isinstance(exc, (client.ConnectionError, OSError))
    return connecting and any(isinstance(one, ssl.SSLError) for one in (exc, exc.__context__))


def plain(exc: BaseException) -> str:
    """What went wrong, in a few words."""
    if isinstance(exc, client.InvalidResponse):
        return f"what answers there does not speak as Redis does ({exc})"
    return str(exc) or type(exc).__name__


def explain(code: str, text: str, where: str) -> PaigeantError:
    """The error for a code of the server; ``text`` is what it said."""
    if (reason := _UNAVAILABLE.get(code)) is not None:
        return BackendUnavailable(f"Redis at {where} {reason} ({text})")
    if (reason := _WRONG.get(code)) is not None:
        return ConfigurationError(f"Redis at {where} {reason} ({text})")
    if code == "WRONGTYPE":
        return BackendCorrupt(
            f"Redis at {where} has a key of another type under a name of ours: another program wrote it ({text}); "
            "`paigeant doctor` names it: delete or rename it, and give each program a database of its own"
        )
    return BackendError(f"Redis at {where} refused: {text}")


def lost(exc: BaseException, where: str, *, changes: bool) -> BackendError:
    """The error for a command that was sent and not answered.

    :param changes: whether it may have changed something.
    """
    if changes:
        return OutcomeUnknown(
            f"Redis at {where} did not answer ({plain(exc)}): it may have happened; repeat it with "
            "the same ids, or read again"
        )
    return BackendUnavailable(f"Redis at {where} did not answer ({plain(exc)})")
