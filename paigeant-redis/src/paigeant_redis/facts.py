"""What a server says of itself when an instance connects."""

from __future__ import annotations

from typing import NamedTuple

from redis import exceptions as client

from paigeant.errors import ConfigurationError

from .errors import translate
from .wire import Wire

OLDEST = (6, 2)


class Facts(NamedTuple):
    """Version and durability; what it refuses to say is unknown.

    :param name: ``Redis`` or ``Valkey``.
    :param version: of the Redis protocol and commands; Valkey tells the one it is compatible with.
    :param release: the version as the server names it.
    :param appends: whether every write is logged to disk (``appendonly``); ``None`` if it does not say.
    """

    name: str = "Redis"
    version: tuple[int, int] = (0, 0)
    release: str = ""
    appends: bool | None = None

    @classmethod
    async def gather(cls, wire: Wire) -> Facts:
        """Ask the server."""
        info = await read_info(wire)
        release = info.get("valkey_version") or info.get("redis_version", "")
        aof = info.get("aof_enabled")
        return cls(
            "Valkey" if "valkey_version" in info else "Redis",
            _numbers(info.get("redis_version", "")),
            release,
            None if aof is None else aof == "1",
        )

    def check(self, where: str) -> None:
        """Refuse a server that is too old.

        :raises ConfigurationError: it is.
        """
        if self.version != (0, 0) and self.version < OLDEST:
            raise ConfigurationError(
                f"{self.name} at {where} is version {self.release}; Paigeant needs 6.2 or newer, or Valkey"
            )


async def read_info(wire: Wire) -> dict[str, str]:
    """The answer to ``INFO``; empty if the user may not ask.

    :raises BackendError: not reached.
    """
    try:
        text: bytes = await wire.call("INFO", changes=False)
    except client.NoPermissionError:
        return {}
    except client.RedisError as exc:
        raise translate(exc, wire.where) from exc
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def _numbers(version: str) -> tuple[int, int]:
    parts = version.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return 0, 0
