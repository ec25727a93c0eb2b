"""Finding the primary that serves a namespace, and connecting to it."""

from __future__ import annotations

import asyncio
from typing import Any

from redis import exceptions as client
from redis.asyncio import connection as redis
from redis.crc import key_slot

from paigeant.errors import BackendUnavailable, ConfigurationError

from .client import Connection, Reply, typed
from .errors import code_of, elsewhere, hung_up, refused, translate, unknown_command
from .settings import Address, RedisSettings, Target

_READ_SIZE = 256 * 1024


def prefix_of(namespace: str) -> str:
    """What every key of a namespace begins with: its hash tag, hence one slot of a cluster."""
    return f"{{paigeant:{namespace}}}"


class Dialer:
    """Opens connections to the primary, wherever it is at the moment."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.target: Target = settings.target()
        self.address: Address = self.target.hosts[0]
        """Where the primary was last found."""
        self._slot = key_slot(prefix_of(settings.namespace).encode())
        self._nodes: dict[Address, None] = dict.fromkeys(self.target.hosts)

    async def dial(self) -> Connection:
        """A new connection, logged in.

        :raises BackendUnavailable: the primary is not reached.
        :raises ConfigurationError: it refuses us.
        """
        try:
            async with asyncio.timeout(self.settings.connect_timeout):
                match self.settings.mode:
                    case "standalone":
                        return await self._open(self.target.hosts[0])
                    case "sentinel":
                        return await self._by_sentinel()
                    case "cluster":
                        return await self._by_cluster()
        except TimeoutError as exc:
            seconds = f"{self.settings.connect_timeout:g} s"
            text = f"Redis at {self.address} did not answer within {seconds}; {self._hint(exc)}"
            raise BackendUnavailable(text) from exc
        except (client.RedisError, client.RedisClusterException, OSError, ValueError) as exc:
            raise translate(exc, str(self.address), self._hint(exc)) from exc

    def _hint(self, exc: Exception) -> str:
        hint = "check that it runs and PAIGEANT_REDIS_URL"
        if not self.address.port or not (isinstance(exc, TimeoutError) or hung_up(exc)):
            return hint
        return f"{hint}: {'redis:// if it does not speak TLS' if self.target.tls else 'rediss:// if it speaks TLS'}"

    async def _open(self, address: Address) -> Connection:
        self.address = address
        connection = self._connection(address, self._login())
        await _connect(connection)
        return connection

    async def _by_sentinel(self) -> Connection:
        service, failures = self.settings.service, list[str]()
        for sentinel in self.target.hosts:
            try:
                found: Reply = await self._ask(
                    sentinel, self._sentinel_login(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", service
                )
            except (client.RedisError, OSError) as exc:
                if unknown_command(exc):
                    raise ConfigurationError(
                        f"Redis at {sentinel} is no Sentinel ({exc}); unset PAIGEANT_REDIS_MODE, or name Sentinels"
                    ) from exc
                failures.append(f"{sentinel}: {str(exc) or type(exc).__name__}")
                continue
            if found is None:
                failures.append(f"{sentinel} knows no primary named {service!r} (PAIGEANT_REDIS_SERVICE)")
                continue
            named = Address(found[0].decode(), int(found[1]))
            if (connection := await self._try(named, str(sentinel), failures, role="master")) is not None:
                return connection
        raise BackendUnavailable(f"no Redis Sentinel of PAIGEANT_REDIS_URL leads to the primary: {', '.join(failures)}")

    async def _by_cluster(self) -> Connection:
        failures = list[str]()
        for node in tuple(self._nodes):
            try:
                ranges: Reply = await self._ask(node, self._login(), "CLUSTER", "SLOTS")
            except (client.ConnectionError, client.TimeoutError, OSError) as exc:
                if _for_good(exc):
                    raise
                failures.append(f"{node}: {str(exc) or type(exc).__name__}")
                continue
            except client.ResponseError as exc:
                raise ConfigurationError(
                    f"Redis at {node} is no node of a cluster ({exc}); unset PAIGEANT_REDIS_MODE"
                ) from exc
            if (owner := self._owner(ranges, node)) is None:
                failures.append(f"{node} knows no owner of slot {self._slot}")
            elif (connection := await self._try(owner, str(node), failures)) is not None:
                return connection
        raise BackendUnavailable(f"no node of the Redis Cluster leads to the namespace: {', '.join(failures)}")

    async def _try(self, address: Address, by: str, failures: list[str], role: str = "") -> Connection | None:
        """Open what a host named, unless it is gone: that host may be behind the times, and another one ahead."""
        try:
            async with asyncio.timeout(self.settings.connect_timeout / 3):  # the next host must have its turn
                connection = await self._open(address)
                if not role or await _has_role(connection, role):
                    return connection
        except (client.RedisError, OSError) as exc:
            if _for_good(exc):
                raise
            failures.append(f"{address}, named by {by}: {str(exc) or type(exc).__name__}")
        else:
            failures.append(f"{address}, named by {by}, is not the primary yet")
        return None

    def _owner(self, ranges: Reply, asked: Address) -> Address | None:
        """The primary of our slot; also remembers every node for the next time."""
        owner: Address | None = None
        for first, last, *nodes in ranges:
            found = [Address(host.decode() if host else asked.host, int(port)) for host, port, *_ in nodes]
            self._nodes.update(dict.fromkeys(found))
            if first <= self._slot <= last:
                owner = found[0]
        return owner

    async def _ask(self, address: Address, login: dict[str, Any], *command: str) -> Reply:
        self.address = address
        connection = self._connection(address, login)
        try:
            async with asyncio.timeout(self.settings.connect_timeout / 3):  # the next host must have its turn
                await _connect(connection)
                return await _call(connection, *command)
        finally:
            await connection.disconnect(nowait=True)

    def _login(self) -> dict[str, Any]:
        return {"username": self.target.username, "password": self.target.password, "db": self.target.db}

    def _sentinel_login(self) -> dict[str, Any]:
        secret = self.settings.sentinel_password
        return {
            "username": self.settings.sentinel_username,
            "password": None if secret is None else secret.get_secret_value(),
        }

    def _connection(self, address: Address, login: dict[str, Any]) -> Connection:
        # Deadlines are the caller's: a time-out of the library would, on a pipelined connection, drop the wrong answer.
        common: dict[str, Any] = {**login, "protocol": 2, "socket_timeout": None, "socket_read_size": _READ_SIZE}
        common["socket_connect_timeout"] = self.settings.connect_timeout
        if not address.port:
            return typed(redis.UnixDomainSocketConnection(path=address.host, **common))
        common |= {"host": address.host, "port": address.port}
        if not self.target.tls:
            return typed(redis.Connection(**common))
        common |= self.settings.tls_files()
        return typed(redis.SSLConnection(ssl_check_hostname=self.settings.tls_check_hostname, **common))


async def _connect(connection: Connection) -> None:
    try:
        await connection.connect()
    except BaseException:  # cancelled, too: half a login is of no use
        await connection.disconnect(nowait=True)
        raise


async def _call(connection: Connection, *command: str) -> Reply:
    await connection.send_command(*command)
    return await connection.read_response(disable_decoding=True)


async def _has_role(connection: Connection, role: str) -> bool:
    """Whether the server plays it; hangs up if not."""
    plays = False
    try:
        answer: Reply = await _call(connection, "ROLE")
        plays = bool(answer[0] == role.encode())
    finally:
        if not plays:
            await connection.disconnect(nowait=True)
    return plays


def _for_good(exc: Exception) -> bool:
    """Whether the server refused us, and every other would: a wrong login, for example."""
    return refused(exc) and not elsewhere(code_of(exc))
