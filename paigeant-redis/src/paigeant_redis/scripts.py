"""The Lua scripts: all that changes data on the server."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

from redis import exceptions as client

from .client import Argument, Reply
from .errors import translate
from .wire import Wire


class Script(NamedTuple):
    """A script and the digest by which the server knows it."""

    name: str
    source: bytes
    sha: bytes

    @classmethod
    def of(cls, name: str, source: bytes) -> Script:
        return cls(name, source, sha1(source, usedforsecurity=False).hexdigest().encode())

    async def run(
        self,
        wire: Wire,
        prefix: str,
        *arguments: Argument,
        changes: bool = True,
        after: tuple[Argument, ...] = (),
        patience: float = 0.0,
    ) -> Reply:
        """Run it; a server that does not know it yet is given it. See ``Wire.call``."""
        rest = (1, prefix, *arguments)
        try:
            try:
                return await wire.call("EVALSHA", self.sha, *rest, changes=changes, after=after, patience=patience)
            except client.NoScriptError:  # nothing was done
                return await wire.call("EVAL", self.source, *rest, changes=changes)
        except client.RedisError as exc:
            raise translate(exc, wire.where) from exc


class Scripts(NamedTuple):
    """The scripts of one kind of server."""

    commit: Script
    claim: Script
    queues: Script
    entries: Script


@cache
def load(*, sharded: bool = False) -> Scripts:
    """Read them from the package.

    :param sharded: tell of changes by ``SPUBLISH``, which stays in one shard of a cluster.
    """
    folder = files(__package__ or "paigeant_redis") / "lua"
    prelude = (folder / "prelude.lua").read_bytes()
    texts = {name: prelude + (folder / f"{name}.lua").read_bytes() for name in Scripts._fields}
    if sharded:
        texts["commit"] = texts["commit"].replace(b"'PUBLISH'", b"'SPUBLISH'")
    return Scripts(**{name: Script.of(name, text) for name, text in texts.items()})
