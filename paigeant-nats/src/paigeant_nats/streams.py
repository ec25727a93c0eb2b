"""The two streams of a namespace: made if they are missing, compared if they are not."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from paigeant.errors import BackendUnavailable, ConfigurationError

from .api import SECOND, Api
from .errors import STREAM_NAME_IN_USE, Refusal, table
from .names import Names
from .settings import NatsSettings

Version = tuple[int, int, int]

OLDEST: Version = (2, 9, 0)
TTL: Version = (2, 11, 0)
SCHEDULES: Version = (2, 12, 0)
ATOMIC: Version = (2, 12, 1)
_WINDOW = 120.0
_NEVER = ("no_ack", "sealed", "mirror", "sources", "subject_transform")
_LIMITS = ("max_msgs", "max_bytes", "max_age", "max_msgs_per_subject", "max_consumers", "max_msg_size")
_FLAGS = {
    "num_replicas": "--replicas={}",
    "subjects": "--subjects={}",
    "no_ack": "--ack",
    "max_age": "--max-age=0s",
    "max_msgs": "--max-msgs={}",
    "max_bytes": "--max-bytes={}",
    "max_msg_size": "--max-msg-size={}",
    "max_msgs_per_subject": "--max-msgs-per-subject={}",
}
"""Of ``nats stream edit``; the server lets nobody change what is not here."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a stream can do, as its configuration was read back: older servers drop what they do not know."""

    schedules: bool
    atomic: bool
    ttl: bool
    direct: bool
    window: float
    replicas: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Features:
        replicas = int(config.get("num_replicas") or 1)
        return cls(
            schedules=config.get("allow_msg_schedules") is True,
            atomic=config.get("allow_atomic") is True,
            ttl=config.get("allow_msg_ttl") is True,
            # A replica may answer a direct read with what is no longer true.
            direct=config.get("allow_direct") is True and replicas == 1,
            window=int(config.get("duplicate_window") or 0) / SECOND,
            replicas=replicas,
        )


def queue_stream(names: Names, settings: NatsSettings, version: Version) -> dict[str, Any]:
    """The stream of all queues: a message is gone once it is acknowledged."""
    window = settings.dedup_window or _WINDOW
    wanted: dict[str, Any] = {
        "name": names.queues,
        "description": "Paigeant: messages",
        "subjects": [f"{names.prefix}.q.>", f"{names.prefix}.s.>"],
        "retention": "workqueue",
        "discard": "old",  # nothing is discarded without a limit, and schedules allow nothing else
        "duplicate_window": int(window * SECOND),
        "max_msgs_per_subject": 1,  # each message has its own; what settles it atomically takes its place
    }
    if version >= SCHEDULES:
        wanted["allow_msg_schedules"] = True
    if version >= ATOMIC:
        wanted["allow_atomic"] = True
    return wanted | _common(settings, version)


def state_stream(names: Names, settings: NatsSettings, version: Version) -> dict[str, Any]:
    """The stream of the store: the last message of a subject is the entry, its sequence the revision."""
    wanted: dict[str, Any] = {
        "name": names.state,
        "description": "Paigeant: state store",
        "subjects": [f"{names.prefix}.e.>", f"{names.prefix}.d.>"],
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "republish": {"src": f"{names.prefix}.e.>", "dest": f"{names.prefix}.w.>"},
    }
    return wanted | _common(settings, version)


def _common(settings: NatsSettings, version: Version) -> dict[str, Any]:
    wanted: dict[str, Any] = {"storage": "file", "num_replicas": settings.replicas or 1, "allow_direct": True}
    if version >= TTL:
        wanted["allow_msg_ttl"] = True
    return wanted


async def ensure_stream(api: Api, wanted: dict[str, Any], settings: NatsSettings) -> Features:
    """Make the stream, or see that the one there will do; switch on what it lacks and the server has.

    :raises ConfigurationError: it was made with settings that would lose or mix up messages.
    :raises BackendUnavailable: somebody else is making it, and is not done yet.
    """
    name = wanted["name"]
    found = await api.find(f"STREAM.INFO.{name}")
    if found is None:
        try:
            return Features.of((await api.call(f"STREAM.CREATE.{name}", wanted, write=True))["config"])
        except Refusal as exc:
            if exc.code != STREAM_NAME_IN_USE:
                raise api.mapped(exc) from exc
            found = await api.find(f"STREAM.INFO.{name}")  # somebody was faster, perhaps a newer release
            if found is None:
                raise BackendUnavailable(f"stream {name!r} at NATS {api.link.where} is being made") from exc
    config = table(found.get("config"))
    _compare(config, wanted, settings, api.link.where)
    changes = _changes(config, wanted, settings)
    if not changes:
        return Features.of(config)
    try:
        return Features.of((await api.call(f"STREAM.UPDATE.{name}", config | changes, write=True))["config"])
    except Refusal as exc:
        error = api.mapped(exc)
        if isinstance(error, ConfigurationError):
            error = ConfigurationError(
                f"stream {name!r} lacks {changes}, and cannot be changed: {error}; lift what the server names, or take "
                "another PAIGEANT_NAMESPACE"
            )
        raise error from exc


def _compare(config: Mapping[str, Any], wanted: Mapping[str, Any], settings: NatsSettings, where: str) -> None:
    same = [
        "retention",
        "storage",
        "subjects",
        "max_msgs_per_subject",
        *(["num_replicas"] if settings.replicas else []),
    ]
    name = wanted["name"]
    for key in same:
        found, needed = config.get(key), wanted.get(key, -1)
        if found != needed:
            raise ConfigurationError(
                f"stream {name!r} at NATS {where} has {key}={found!r}, not {needed!r}; {edit(name, {key: needed})}"
                + (f", or PAIGEANT_NATS_REPLICAS={found}" if key == "num_replicas" else "")
            )
    limited = [key for key in _LIMITS if key not in wanted and (config.get(key) or -1) != -1]
    limited = limited if config.get("discard") == "old" else [key for key in limited if key == "max_age"]
    if reasons := [key for key in _NEVER if config.get(key)] or limited:
        raise ConfigurationError(
            f"stream {name!r} at NATS {where} has {', '.join(reasons)} set, which loses messages; "
            f"{edit(name, dict.fromkeys(reasons, -1))}"
        )


def edit(name: str, changes: Mapping[str, object]) -> str:
    """What makes these changes to a stream: a command, for people."""
    if not changes.keys() <= _FLAGS.keys():
        return f"take another PAIGEANT_NAMESPACE, or remove it with all that is in it: `nats stream rm {name}`"
    flags = (_FLAGS[key].format(_argument(value)) for key, value in changes.items())
    return f"`nats stream edit {name} {' '.join(flags)}`"


def _argument(value: object) -> str:
    return shlex.quote(",".join(cast("list[str]", value)) if isinstance(value, list) else str(value))


def _changes(config: Mapping[str, Any], wanted: Mapping[str, Any], settings: NatsSettings) -> dict[str, Any]:
    keys = [key for key, value in wanted.items() if value is True]
    keys += ["republish"] if "republish" in wanted else []
    keys += ["duplicate_window"] if settings.dedup_window and "duplicate_window" in wanted else []
    return {key: wanted[key] for key in keys if not _equal(config.get(key), wanted[key])}


def _equal(found: object, needed: object) -> bool:
    if isinstance(found, dict) and isinstance(needed, dict):
        has = cast("dict[str, object]", found)
        return all(has.get(key) == value for key, value in cast("dict[str, object]", needed).items())
    return found == needed
