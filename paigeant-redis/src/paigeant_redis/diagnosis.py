"""What an operator should know of a Redis: durability, eviction, replication, rights, clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from paigeant.errors import PaigeantError
from paigeant.model.finding import Finding, Severity

from .client import Reply
from .facts import read_info
from .rights import rights
from .server import Server

_SKEW: Final = 1.0
"""Seconds by which clocks may differ before it is worth a word."""
_QUEUES: Final = 1000
"""Most queues whose keys are looked at."""
_TYPES: Final = {
    "queues": "hash",
    "temporary": "zset",
    "keys": "zset",
    "due": "zset",
    "ttl": "zset",
    "revision": "string",
}
_TYPES_OF_A_QUEUE: Final = {"q": "stream", "l": "zset", "d": "zset", "b": "list", "c": "zset"}


async def diagnose(server: Server) -> list[Finding]:
    """Look at the server; reads only. What it refuses to tell is a finding, too."""
    info = await read_info(server.wire)
    if not info:
        return [
            _version(server),
            Finding(Severity.NOTE, "INFO", "this user may not read it", "ACL SETUSER <name> +info"),
        ]
    findings = [_version(server), _mode(server, info), *_durability(info)]
    findings += [_fsync(info, await _config(server, "appendfsync")), _eviction(info), _memory(info)]
    findings += [_replication(info), await _clock(server), await rights(server), *await _foreign_keys(server)]
    return [finding for finding in findings if finding is not None]


async def _config(server: Server, name: str) -> str | None:
    """A setting of the server; ``None`` if it does not tell."""
    try:
        found: Reply = await server.call("CONFIG", "GET", name)
    except PaigeantError:
        return None
    return found[1].decode() if found else None


def _version(server: Server) -> Finding:
    facts = server.facts
    if not facts.release:
        return Finding(Severity.NOTE, "version", f"the server at {server.where} does not tell its version")
    return Finding(Severity.OK, "version", f"{facts.name} {facts.release} at {server.where}")


def _mode(server: Server, info: dict[str, str]) -> Finding | None:
    if info.get("cluster_enabled") != "1" or server.settings.mode == "cluster":
        return None
    return Finding(
        Severity.PROBLEM, "mode", "the server is a node of a cluster, used as if alone", "PAIGEANT_REDIS_MODE=cluster"
    )


def _durability(info: dict[str, str]) -> Iterator[Finding]:
    if info.get("aof_enabled") == "1":
        yield Finding(Severity.OK, "appendonly", "every write is logged")
    else:
        yield Finding(
            Severity.PROBLEM,
            "appendonly",
            "off: a server that stops loses what it took since its last snapshot, acknowledged or not",
            "CONFIG SET appendonly yes; and in redis.conf",
        )
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding(Severity.PROBLEM, "persistence", "the last write to disk failed", "see the server's log")


def _fsync(info: dict[str, str], policy: str | None) -> Finding | None:
    if info.get("aof_enabled") != "1":
        return None
    match policy:
        case "always":
            return Finding(
                Severity.OK, "appendfsync", "always: what was acknowledged survives a kill and a loss of power"
            )
        case "everysec":
            text = "everysec: a loss of power, or a kill while the disk is slow, may cost the last two seconds"
            return Finding(Severity.NOTE, "appendfsync", text, "CONFIG SET appendfsync always (slower)")
        case None:
            return Finding(Severity.NOTE, "appendfsync", "this user may not read it", "ACL SETUSER <name> +config|get")
        case _:
            text = f"{policy}: a loss of power may cost many seconds"
            return Finding(Severity.WARNING, "appendfsync", text, "CONFIG SET appendfsync everysec, or always")


def _eviction(info: dict[str, str]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy in {None, "noeviction"}:
        return Finding(Severity.OK, "maxmemory-policy", "noeviction: nothing is thrown away")
    harmless = info.get("maxmemory") == "0"
    text = f"{policy}: when memory is short, the server throws away messages and state"
    remedy = "CONFIG SET maxmemory-policy noeviction"
    return Finding(Severity.WARNING if harmless else Severity.PROBLEM, "maxmemory-policy", text, remedy)


def _memory(info: dict[str, str]) -> Finding:
    limit, used = int(info.get("maxmemory", "0")), int(info.get("used_memory", "0"))
    if not limit:
        text = f"no limit; {used >> 20} MiB used. Without one the system may kill the server when memory is short"
        return Finding(Severity.NOTE, "maxmemory", text, "CONFIG SET maxmemory <bytes>, below the machine's")
    if used >= limit:
        text = f"the limit of {limit >> 20} MiB is reached: what needs memory, as dispatching does, is refused"
        return Finding(Severity.PROBLEM, "maxmemory", text, "CONFIG SET maxmemory <more bytes>, or free some")
    severity = Severity.WARNING if used > 0.8 * limit else Severity.OK
    return Finding(severity, "maxmemory", f"{used >> 20} of {limit >> 20} MiB used; at the limit publishing is refused")


def _replication(info: dict[str, str]) -> Finding:
    if info.get("role") != "master":
        return Finding(Severity.PROBLEM, "role", "this server is a replica and takes no writes", "name the primary")
    replicas = info.get("connected_slaves", "0")
    if replicas == "0":
        return Finding(Severity.NOTE, "replicas", "none: if this machine is lost, so is the data since its last backup")
    return Finding(
        Severity.NOTE,
        "replicas",
        f"{replicas}, fed asynchronously: a failover may lose the last acknowledged writes, whatever the settings",
        "min-replicas-to-write and min-replicas-max-lag bound how much",
    )


async def _clock(server: Server) -> Finding:
    skew = await server.now() - time.time()
    if abs(skew) < _SKEW:
        return Finding(Severity.OK, "clock skew", f"{skew * 1000:.0f} ms")
    return Finding(
        Severity.WARNING,
        "clock skew",
        f"the server's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's; leases and "
        "timers follow the server's, signatures this machine's",
        "run NTP on both",
    )


async def _foreign_keys(server: Server) -> list[Finding]:
    """Keys of ours that another program wrote, by their type."""
    try:
        queues: list[bytes] = await server.call("HKEYS", f"{server.prefix}:queues")
    except PaigeantError:
        queues = []
    named = {
        f"{kind}:{queue.decode('utf-8', 'replace')}": expected
        for queue in queues[:_QUEUES]
        for kind, expected in _TYPES_OF_A_QUEUE.items()
    }
    expected = _TYPES | named
    try:
        types = await asyncio.gather(*(server.call("TYPE", f"{server.prefix}:{name}") for name in expected))
    except PaigeantError as exc:
        return [Finding(Severity.NOTE, "key types", f"could not be checked ({exc})")]
    return [
        Finding(
            Severity.PROBLEM,
            "key types",
            f"{server.prefix}:{name} is a {found.decode()}, not a {expected[name]}: another program wrote it, and "
            "what needs it stops",
            "DEL or RENAME it, and give each program a database of its own",
        )
        for name, found in zip(expected, types, strict=True)
        if found.decode() not in {"none", expected[name]}
    ]
