"""What an operator should know of a NATS server and of our streams on it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from paigeant.errors import BackendClosed, BackendError, ConfigurationError
from paigeant.model.finding import Finding, Severity

from .errors import Refusal, number, table, tables
from .rights import queue_rights, store_rights
from .session import Session
from .streams import ATOMIC, SCHEDULES, TTL, edit

_SKEW = 2.0
_NEARLY_FULL = 0.9


async def diagnose(session: Session) -> list[Finding]:
    """All findings. Changes nothing; what the server does not tell is a finding."""
    session.link.check()
    found = [_version(session)]
    checks: list[Callable[[Session], Awaitable[list[Finding]]]] = [_account, _streams, _clock]
    checks += [queue_rights] if session.uses_queues else []
    checks += [store_rights] if session.has_state else []
    for check in checks:
        try:
            found += await check(session)
        except BackendClosed:
            raise
        except (BackendError, ConfigurationError, Refusal) as exc:
            found.append(
                Finding(Severity.NOTE, check.__name__.strip("_").replace("_", " "), f"could not be read: {exc}")
            )
    return [*found, _payload(session), _sync(session), _login(session)]


def _version(session: Session) -> Finding:
    told = session.shown_version
    if session.version < SCHEDULES:
        lacks = "delays are naks that hold a place of max_ack_pending"
        lacks += ", expired entries and results of vanished readers stay" if session.version < TTL else ""
        remedy = "use NATS 2.12.1 or newer"
        return Finding(
            Severity.WARNING if session.version < TTL else Severity.NOTE, "version", f"{told}: {lacks}", remedy
        )
    extra = "" if session.version >= ATOMIC else "; PAIGEANT_NATS_ATOMIC needs 2.12.1"
    return Finding(Severity.OK, "version", told + extra)


async def _account(session: Session) -> list[Finding]:
    told = await session.api.call("INFO")
    tiers = table(told.get("tiers"))
    used, limits = told, table(told.get("limits"))
    if f"R{session.queue_features.replicas}" in tiers:
        used = tiers[f"R{session.queue_features.replicas}"]
        limits = table(used.get("limits"))
    storage, most = number(used.get("storage")), number(limits.get("max_storage"))
    if most <= 0:
        text = (
            f"{storage:,} bytes used; the account has no limit of its own, and the server does not tell how much it has"
        )
        return [
            Finding(Severity.NOTE, "storage", text, "watch its max_file_store and its disk: full, it stores nothing")
        ]
    text = f"{storage:,} of {most:,} bytes used"
    if storage < most * _NEARLY_FULL:
        return [Finding(Severity.OK, "storage", text)]
    why = "; when it is full, nothing can be published or stored"
    return [Finding(Severity.WARNING, "storage", text + why, "raise max_file_store, or the limit of the account")]


async def _streams(session: Session) -> list[Finding]:
    found: list[Finding] = []
    for name in (session.names.queues, session.names.state):
        info = await session.api.find(f"STREAM.INFO.{name}")
        if info is not None:
            found.append(_replicas(name, info))
    return found


def _replicas(name: str, info: dict[str, Any]) -> Finding:
    replicas = number(table(info.get("config")).get("num_replicas")) or 1
    peers = tables(table(info.get("cluster")).get("replicas"))
    offline = [str(peer.get("name")) for peer in peers if peer.get("offline")]
    if offline:
        return Finding(
            Severity.WARNING,
            "replicas",
            f"stream {name}: {replicas} replicas, of which {offline} are offline",
            "start them",
        )
    if replicas == 1:
        text = f"stream {name}: one copy; it is gone with its server's disk, and out of reach with its server"
        remedy = f"in a cluster: {edit(name, {'num_replicas': 3})}, and PAIGEANT_NATS_REPLICAS=3 for new streams"
        return Finding(Severity.NOTE, "replicas", text, remedy)
    return Finding(Severity.OK, "replicas", f"stream {name}: {replicas}")


async def _clock(session: Session) -> list[Finding]:
    skew = await session.now() - time.time()
    if not session.server_clock:
        text = "this server does not tell its time: leases and delays go by the clocks of our machines"
        return [Finding(Severity.WARNING, "clock skew", text, "keep them synchronised, or use NATS 2.10 or newer")]
    if abs(skew) > _SKEW:
        text = f"the server's clock differs from ours by {skew:.1f} s; expiry of signed workflows goes by ours"
        return [Finding(Severity.WARNING, "clock skew", text, "synchronise both, for example by chrony")]
    return [Finding(Severity.OK, "clock skew", f"{skew * 1000:.0f} ms")]


def _payload(session: Session) -> Finding:
    most = session.max_payload
    if most < 512 * 1024:
        text = f"max_payload is {most:,} bytes, of which 16 KiB are for headers; larger envelopes are refused"
        return Finding(Severity.WARNING, "max_payload", text, "max_payload: 1MB in the server's configuration")
    return Finding(Severity.OK, "max_payload", f"{most:,} bytes")


def _sync(session: Session) -> Finding:
    replicated = session.queue_features.replicas > 1 or session.state_features.replicas > 1
    text = "the server does not tell its sync_interval; by default it is 2 minutes, which a loss of power loses"
    text += " on the machines that lose it" if replicated else ""
    severity = Severity.NOTE if replicated else Severity.WARNING
    return Finding(severity, "sync_interval", text, "jetstream { sync_interval: always } in the server's configuration")


def _login(session: Session) -> Finding:
    seconds = session.queue_features.window
    window = f"message ids are remembered for {seconds:g} s" if seconds else "no queues"
    if session.link.servers.tls or session.link.servers.loopback:
        return Finding(Severity.OK, "connection", f"{session.link.where}; {window}")
    text = f"{session.link.where} is another machine, and TLS is not insisted on; {window}"
    return Finding(Severity.NOTE, "connection", text, "tls:// in PAIGEANT_NATS_URL")
