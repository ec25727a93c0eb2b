"""Whether the user may do what is needed."""

from __future__ import annotations

import asyncio
from typing import Final

from paigeant.errors import ConfigurationError, PaigeantError
from paigeant.model.finding import Finding, Severity

from .server import Server

_NEEDED: Final = (
    "EVALSHA x 1 {p}",
    "EVAL x 1 {p}",
    "TIME",
    "XADD {p}:q:x * m x",
    "XREADGROUP GROUP w w COUNT 1 NOACK STREAMS {p}:q:x >",
    "XGROUP CREATE {p}:q:x w 0 MKSTREAM",
    "XINFO GROUPS {p}:q:x",
    "XRANGE {p}:q:x - +",
    "XLEN {p}:q:x",
    "XDEL {p}:q:x 0-1",
    "ZADD {p}:due 0 x",
    "ZREM {p}:due x",
    "ZCARD {p}:due",
    "ZCOUNT {p}:due 0 1",
    "ZSCORE {p}:due x",
    "ZMSCORE {p}:due x",
    "ZRANK {p}:due x",
    "ZRANGE {p}:due 0 0",
    "ZRANGEBYSCORE {p}:due 0 1",
    "ZRANGEBYLEX {p}:due - +",
    "ZREMRANGEBYSCORE {p}:due 0 1",
    "HSET {p}:queues x x",
    "HGET {p}:queues x",
    "HDEL {p}:queues x",
    "HKEYS {p}:queues",
    "SET {p}:e:x x",
    "GET {p}:e:x",
    "MGET {p}:e:x",
    "SETRANGE {p}:e:x 0 x",
    "GETRANGE {p}:e:x 0 0",
    "PEXPIRE {p}:e:x 1",
    "PERSIST {p}:e:x",
    "EXISTS {p}:e:x",
    "UNLINK {p}:e:x",
    "RPUSH {p}:b:x x",
    "BLPOP {p}:b:x 0",
    "{s}PUBLISH {p}:w:x x",
    "{s}SUBSCRIBE {p}:w:x",
    "{s}UNSUBSCRIBE {p}:w:x",
    "PING",
)
"""Each command that is sent or that a script calls, once, on keys and channels such as ours."""


async def rights(server: Server) -> Finding:
    """Ask the server what it would say to each command, without doing it."""
    shard = "S" if server.sharded else ""
    needed = [command.format(p=server.prefix, s=shard).split() for command in _NEEDED]
    try:
        user: bytes = await server.call("ACL", "WHOAMI")
        verdicts = await asyncio.gather(*(server.call("ACL", "DRYRUN", user, *command) for command in needed))
    except ConfigurationError:
        return Finding(Severity.NOTE, "rights", "this user may not check them", "ACL SETUSER <name> +acl|dryrun")
    except PaigeantError as exc:
        return Finding(Severity.NOTE, "rights", f"could not be checked ({exc})")
    name = user.decode("utf-8", "replace")
    missing = [command[0] for command, verdict in zip(needed, verdicts, strict=True) if verdict != b"OK"]
    if not missing:
        return Finding(Severity.OK, "rights", f"user {name!r} may do what is needed")
    return Finding(
        Severity.PROBLEM,
        "rights",
        f"user {name!r} may not: {', '.join(missing)}",
        f"ACL SETUSER {name} resetchannels ~{{paigeant:* &{{paigeant:* +@all -@admin -@dangerous +info",
    )
