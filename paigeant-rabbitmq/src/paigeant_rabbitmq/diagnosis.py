"""What an operator should know of this broker, as far as AMQP tells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from paigeant.errors import PaigeantError
from paigeant.model.finding import Finding, Severity

from .channels import on_a_channel
from .errors import GRANT
from .line import Line
from .link import Link
from .settings import RabbitMQSettings
from .tasks import cancel

TIMEOUTS, SMALLER = (3, 12), (4, 0)
"""Versions: with a consumer timeout per queue; with messages of at most 16 MiB."""
_SMALL = 16 * 1024 * 1024

_Attempt: TypeAlias = Callable[[AbstractChannel], Awaitable[object]]
OK, NOTE, WARNING, PROBLEM = Severity.OK, Severity.NOTE, Severity.WARNING, Severity.PROBLEM


async def diagnose(line: Line, publishing: Link, settings: RabbitMQSettings) -> list[Finding]:
    """All findings. Reads only: rights are tried on a name that nothing has."""
    version = line.version
    rights = await _rights(line, publishing, settings)  # first: a broker tells of an alarm when somebody publishes
    return [
        _version(version, str(line.server.get("version", "unknown"))),
        _queue_type(settings),
        _consumer_timeout(version, settings),
        _heartbeat(settings, tls=publishing.place.tls),
        *_certificate(settings, tls=publishing.place.tls),
        _alarm(publishing),
        _max_message(version, settings),
        Finding(
            NOTE, "replicas", "AMQP does not tell how many replicas a queue has", "rabbitmq-queues quorum_status NAME"
        ),
        *rights,
    ]


def _version(version: tuple[int, ...], text: str) -> Finding:
    if not version:
        return Finding(NOTE, "version", f"the broker calls its version {text!r}; 3.10 or newer is needed")
    return Finding(OK, "version", f"RabbitMQ {text}")


def _queue_type(settings: RabbitMQSettings) -> Finding:
    if settings.queue_type == "quorum":
        return Finding(OK, "queue type", "quorum: on disk on most replicas before a publish returns")
    return Finding(
        WARNING,
        "queue type",
        "classic: a publish returns before the message is on disk, one node holds it, and deliveries are not counted",
        "PAIGEANT_RABBITMQ_QUEUE_TYPE=quorum, with new queues",
    )


def _consumer_timeout(version: tuple[int, ...], settings: RabbitMQSettings) -> Finding:
    if version and version < TIMEOUTS:
        return Finding(
            NOTE,  # a transport is not told whether there is a store; that there is none is a warning of its own
            "consumer timeout",
            "this version ignores that of a queue: without a state store, what is not settled after consumer_timeout "
            "of the broker (30 minutes by default) is given to another worker, too",
            "without a state store: use one, set consumer_timeout in rabbitmq.conf above the longest activity, or "
            "upgrade to 3.12 or newer; with one there is nothing to do",
        )
    return Finding(OK, "consumer timeout", f"queues are declared with {settings.consumer_timeout:g} s")


def _heartbeat(settings: RabbitMQSettings, *, tls: bool) -> Finding:
    seconds = settings.heartbeat
    if tls:
        return Finding(
            NOTE,
            "heartbeat",
            f"{seconds} s; under TLS an event loop that is busy for twice as long loses the connection",
            "run blocking steps in threads, or raise PAIGEANT_RABBITMQ_HEARTBEAT",
        )
    return Finding(OK, "heartbeat", f"{seconds} s; sent from a thread while the event loop is busy")


def _certificate(settings: RabbitMQSettings, *, tls: bool) -> list[Finding]:
    if not tls or settings.tls_verify:
        return []
    text = "PAIGEANT_RABBITMQ_TLS_VERIFY is false: whoever answers is taken for the broker, and reads the password"
    return [Finding(WARNING, "certificate", text, "name its authority in PAIGEANT_RABBITMQ_TLS_CA, and verify")]


def _alarm(publishing: Link) -> Finding:
    if publishing.blocked is None:
        return Finding(OK, "alarms", "none")
    return Finding(
        PROBLEM,
        "alarms",
        f"the broker takes no messages: {publishing.blocked}",
        "free memory or disk space on the broker",
    )


def _max_message(version: tuple[int, ...], settings: RabbitMQSettings) -> Finding:
    limit = settings.max_message
    if version >= SMALLER and limit > _SMALL:
        return Finding(
            WARNING,
            "max message",
            f"PAIGEANT_RABBITMQ_MAX_MESSAGE is {limit} bytes; the broker closes the channel over its own limit, 16 MiB "
            "unless max_message_size says otherwise",
            f"PAIGEANT_RABBITMQ_MAX_MESSAGE={_SMALL}, or raise max_message_size in rabbitmq.conf",
        )
    return Finding(OK, "max message", f"{limit} bytes")


async def _rights(line: Line, publishing: Link, settings: RabbitMQSettings) -> list[Finding]:
    probe = f"paigeant.{settings.namespace}:probe"
    found = [
        await _right(line, settings, "configure", lambda c: c.queue_delete(probe)),
        await _right(line, settings, "read", lambda c: c.queue_purge(probe)),
    ]
    # Never on the line that receives: a publication may block it.
    publications: dict[str, _Attempt] = {
        "write": lambda c: c.basic_publish(b"", exchange=probe, routing_key=probe),
        "write amq.default": lambda c: c.basic_publish(b"", routing_key=probe),
    }
    for name, attempt in publications.items():
        found += await _unless_halted(publishing, settings, name, attempt)
    return found


async def _unless_halted(publishing: Link, settings: RabbitMQSettings, name: str, attempt: _Attempt) -> list[Finding]:
    """Nothing if the broker halts the connection: it does not answer then."""
    halted = asyncio.ensure_future(publishing.halted.wait())
    trying = asyncio.ensure_future(_right(await publishing.line(settings.timeout), settings, name, attempt))
    try:
        await asyncio.wait({halted, trying}, return_when=asyncio.FIRST_COMPLETED)
        return [] if publishing.blocked is not None else [trying.result()]
    finally:
        await cancel(halted, trying)


async def _right(line: Line, settings: RabbitMQSettings, name: str, attempt: _Attempt) -> Finding:
    """Rights are checked before anything is looked for, and there is nothing to be found."""
    subject = f"right: {name}"
    try:
        await on_a_channel(line, attempt, f"trying the right to {name}", settings.timeout, confirms=True)
    except PaigeantError as exc:
        if isinstance(exc.__cause__, ChannelAccessRefused):
            return Finding(PROBLEM, subject, str(exc.__cause__), GRANT)
        if not isinstance(exc.__cause__, ChannelNotFoundEntity):
            return Finding(NOTE, subject, f"could not be tried: {exc}")
    return Finding(OK, subject, "granted")
