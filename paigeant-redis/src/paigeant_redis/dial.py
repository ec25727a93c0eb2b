"""Finding the primary that serves a namespace, and connecting to it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis import exceptions as client
from redis.asyncio import connection as redis
from redis.crc import key_slot

from paigeant.errors import BackendUnavailable, ConfigurationError

from .client import Connection, Parser, Reply, typed
from .errors import for_good, hung_up, no_cluster, plain, translate, unknown_command
from .settings import Address, RedisSettings, Target

T = TypeVar("T")

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
        hosts = random.sample(self.target.hosts, len(self.target.hosts))
        self._hosts = dict.fromkeys(hosts, 0.0)
        """Whom to ask for the primary, and when each last led nowhere."""
        self._welcome = False

    async def dial(self) -> Connection:
        """A new connection, logged in.

        :raises BackendUnavailable: the primary is not reached, or refuses us for now: it has let us in before.
        :raises ConfigurationError: it refuses us.
        """
        try:
            connection = await self._dial()
        except ConfigurationError as exc:
            if self._welcome:  # a password is being changed, say, or something in between answers
                raise BackendUnavailable(str(exc)) from exc
            raise
        self._welcome = True
        return connection

    async def _dial(self) -> Connection:
        try:
            async with asyncio.timeout(self.settings.connect_timeout):
                match self.settings.mode:
                    case "standalone":
                        return await self._open(self.target.hosts[0])
                    case "sentinel":
                        return await self._by_hosts(self._by_sentinel)
                    case "cluster":
                        return await self._by_hosts(self._by_node)
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
        await _begin(connection, "TIME")  # logged in indeed: without a password nothing of that was answered yet
        return connection

    async def _by_hosts(self, follow: Callable[[Address, list[str]], Awaitable[Connection | None]]) -> Connection:
        """Ask one host after another. Who led nowhere comes last the next time: this time may end before the rest."""
        failures = list[str]()
        for host in sorted(self._hosts, key=self._hosts.__getitem__):
            connection: Connection | None = None
            try:
                if (connection := await follow(host, failures)) is not None:
                    return connection
            finally:  # when the time is over, too
                self._hosts[host] = time.monotonic() if connection is None else 0.0
        kind = "Sentinel of PAIGEANT_REDIS_URL" if self.settings.mode == "sentinel" else "node of the Redis Cluster"
        raise BackendUnavailable(f"no {kind} leads to the primary of the namespace: {', '.join(failures)}")

    async def _by_sentinel(self, sentinel: Address, failures: list[str]) -> Connection | None:
        service = self.settings.service
        try:
            answer = await self._ask(sentinel, self._sentinel_login(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            primary = None if answer is None else _read(answer, _address)
        except (client.RedisError, OSError) as exc:
            if unknown_command(exc):
                raise ConfigurationError(
                    f"Redis at {sentinel} is no Sentinel ({exc}); unset PAIGEANT_REDIS_MODE, or name Sentinels"
                ) from exc
            remedy = " (PAIGEANT_REDIS_SENTINEL_USERNAME and _PASSWORD)" if for_good(exc) else ""
            failures.append(f"{sentinel}: {plain(exc)}{remedy}")
            return None
        if primary is None:
            failures.append(f"{sentinel} knows no primary named {service!r} (PAIGEANT_REDIS_SERVICE)")
            return None
        return await self._try(primary, str(sentinel), failures, role="master")

    async def _by_node(self, node: Address, failures: list[str]) -> Connection | None:
        try:
            answer = await self._ask(node, self._login(), "CLUSTER", "SLOTS")
            owner, nodes = _read(answer, lambda ranges: self._owner(ranges, node))
        except (client.RedisError, OSError) as exc:
            if no_cluster(exc):
                raise ConfigurationError(
                    f"Redis at {node} is no node of a cluster ({exc}); unset PAIGEANT_REDIS_MODE"
                ) from exc
            if for_good(exc):
                raise
            failures.append(f"{node}: {plain(exc)}")
            return None
        for known in nodes:  # for the next time
            self._hosts.setdefault(known, 0.0)
        if owner is None:
            failures.append(f"{node} knows no owner of slot {self._slot}")
            return None
        return await self._try(owner, str(node), failures)

    async def _try(self, address: Address, by: str, failures: list[str], role: str = "") -> Connection | None:
        """Open what a host named, unless it is gone: that host may be behind the times, and another one ahead."""
        if not address.port:
            failures.append(f"{address}, named by {by}, has no port {'with' if self.target.tls else 'without'} TLS")
            return None
        try:
            async with asyncio.timeout(self.settings.connect_timeout / 3):  # the next host must have its turn
                connection = await self._open(address)
                if not role or await _has_role(connection, role):
                    return connection
        except (client.RedisError, OSError) as exc:
            if for_good(exc):
                raise
            failures.append(f"{address}, named by {by}: {plain(exc)}")
        else:
            failures.append(f"{address}, named by {by}, is not the primary yet")
        return None

    def _owner(self, ranges: Reply, asked: Address) -> tuple[Address | None, list[Address]]:
        """The primary of our slot, and every node that we could ask."""
        owner, known = None, list[Address]()
        for first, last, *nodes in ranges:
            found = [_address((host or asked.host.encode(), port)) for host, port, *_ in nodes]
            known += found
            if first <= self._slot <= last:
                owner = found[0]
        return owner, [node for node in known if node.port]

    async def _ask(self, address: Address, login: dict[str, Any], *command: str) -> Reply:
        self.address = address
        connection = self._connection(address, login)
        try:
            async with asyncio.timeout(self.settings.connect_timeout / 3):  # the next host must have its turn
                return await _begin(connection, *command)
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
        common |= {"parser_class": Parser, "socket_connect_timeout": self.settings.connect_timeout}
        if not address.port:
            return typed(redis.UnixDomainSocketConnection(path=address.host, **common))
        common |= {"host": address.host, "port": address.port}
        if not self.target.tls:
            return typed(redis.Connection(**common))
        common |= self.settings.tls_files()
        return typed(redis.SSLConnection(ssl_check_hostname=self.settings.tls_check_hostname, **common))


async def _begin(connection: Connection, *command: str) -> Reply:
    """Connect, and send the first command."""
    try:
        await connection.connect()
        return await _call(connection, *command)
    except BaseException:  # cancelled, too: half a login is of no use
        await connection.disconnect(nowait=True)
        raise


async def _call(connection: Connection, *command: str) -> Reply:
    await connection.send_command(*command)
    return await connection.read_response(disable_decoding=True)


def _read(answer: Reply, how: Callable[[Reply], T]) -> T:
    """What an answer says.

    :raises redis.exceptions.InvalidResponse: it makes no sense.
    """
    try:
        return how(answer)
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        raise client.InvalidResponse(f"its answer makes no sense: {str(answer)[:100]}") from exc


def _address(parts: Reply) -> Address:
    address = Address(parts[0].decode(), int(parts[1]))
    if not address.host or not 0 <= address.port < 65536:  # 0: it has no port with, or without, TLS as ours
        raise ValueError
    return address


async def _has_role(connection: Connection, role: str) -> bool:
    """Whether the server plays it; hangs up if not."""
    plays = False
    try:
        answer: Reply = await _call(connection, "INFO", "replication")  # not ROLE: it counts as dangerous
        plays = isinstance(answer, bytes) and f"role:{role}".encode() in answer.split()
    finally:
        if not plays:
            await connection.disconnect(nowait=True)
    return plays
