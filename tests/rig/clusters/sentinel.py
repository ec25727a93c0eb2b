"""A Redis primary and replicas, watched by Sentinels, which put a replica in the place of a dead primary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rig.brokers import RedisServer
from rig.clusters.base import Cluster, each
from rig.clusters.redis import client
from rig.packages import Installation
from rig.server import BrokerError

SERVICE = "mymaster"


class Member(RedisServer):
    """Its configuration is written once: from then on the Sentinels change it."""

    def _command(self) -> list[str]:
        file = self.directory / "redis.conf"
        return [str(self.installation.path), str(file)] if file.exists() else super()._command()


class Sentinel(RedisServer):
    """One Sentinel, which keeps its own configuration too."""

    def _command(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():
            lines = [f"port {self.port}", f"bind {self.host}", f"dir {self.data}", *self.config["lines"]]
            file.write_text("".join(f"{line}\n" for line in lines))
        return [str(self.installation.path), str(file), "--sentinel"]


class RedisSentinel(Cluster[RedisServer]):
    """One primary, ``replicas``, and three Sentinels that must agree by two.

    :param config: directives of primary and replicas.
    :param failing: milliseconds of silence after which the primary is replaced.
    """

    def __init__(
        self,
        directory: Path,
        replicas: int = 1,
        *,
        config: Mapping[str, Any] | None = None,
        installation: Installation | None = None,
        failing: int = 1000,
    ) -> None:
        self._failing, self._watched = failing, False
        self.nodes = [
            Member(directory / f"node{number}", config=config, installation=installation)
            for number in range(1 + replicas)
        ]
        self.sentinels = [Sentinel(directory / f"sentinel{number}", installation=installation) for number in range(3)]

    @property
    def url(self) -> str:
        return f"redis://{','.join(f'{node.host}:{node.port}' for node in self.sentinels)}/0"

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PAIGEANT_REDIS_MODE": "sentinel", "PAIGEANT_REDIS_SERVICE": SERVICE}

    def leader(self) -> RedisServer:
        """The primary, as most Sentinels see it.

        :raises BrokerError: it does not run, or they do not agree.
        """
        seen = [self._seen(sentinel) for sentinel in self.sentinels if sentinel.running]
        for node in self.running:
            if seen.count(node.port) >= 2:
                return node
        raise BrokerError(f"the Sentinels name no running primary now, but the ports {seen}")

    def stop(self) -> None:
        each(self.sentinels, lambda sentinel: sentinel.stop())
        super().stop()

    def _form(self) -> None:
        if not self._watched:  # else the Sentinels remember who is primary
            self._replicate()
            self._watched = True
        each(self.sentinels, lambda sentinel: sentinel.start())
        self.eventually(self._formed, "watched by Sentinels that know each other")

    def _replicate(self) -> None:
        primary, *replicas = self.nodes
        for node in replicas:
            with client(node) as asked:
                asked.replicaof(primary.host, primary.port)
                asked.config_rewrite()
        for sentinel in self.sentinels:
            sentinel.config["lines"] = self._watching(primary)

    def _watching(self, primary: RedisServer) -> list[str]:
        return [
            f"sentinel monitor {SERVICE} {primary.host} {primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {self._failing}",
            f"sentinel failover-timeout {SERVICE} {self._failing * 5}",
        ]

    def _formed(self) -> bool:
        return all(self._complete(sentinel) for sentinel in self.sentinels)

    def _complete(self, sentinel: RedisServer) -> bool:
        with client(sentinel) as asked:
            seen = asked.sentinel_master(SERVICE)
        return bool(seen["num-slaves"] == len(self.nodes) - 1 and seen["num-other-sentinels"] == 2)

    def _seen(self, sentinel: RedisServer) -> int:
        with client(sentinel) as asked:
            return int(asked.sentinel_get_master_addr_by_name(SERVICE)[1])
