"""The settings of the Redis plugin. Imports no client library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import Field, SecretStr

from paigeant.errors import ConfigurationError
from paigeant.plugins import PluginSettings

DEFAULT_URL: Final = "redis://localhost:6379/0"
_PORT: Final = 6379
_FORM = "redis://[user:password@]host[:port][,host[:port]...][/db], rediss:// for TLS, or unix:///path/to/socket"


class Address(NamedTuple):
    """Where a server listens: a host and port, or (port 0) the path of a socket."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can be at it."""
        return not self.port or self.host in {"localhost", "::1"} or self.host.startswith("127.")


class RedisSettings(PluginSettings):
    """``PAIGEANT_REDIS_*``.

    :param url: ``redis://``, with TLS ``rediss://``, or ``unix:///path/to/socket``; several hosts are
        the Sentinels or the first nodes of a cluster. Default ``redis://localhost:6379/0``.
    :param mode: what the hosts of the URL are: one ``standalone`` server, ``sentinel`` processes, or
        nodes of a ``cluster``.
    :param service: ``sentinel``: the name under which the Sentinels watch the primary.
    :param db: number of the database; overrides the URL. A cluster has only 0.
    :param username: ACL user; overrides the URL. Default: the server's default user.
    :param password: overrides the URL.
    :param sentinel_username: ACL user of the Sentinels themselves, if they ask for one.
    :param sentinel_password: its password.
    :param tls_ca: file of certificates to trust instead of the system's.
    :param tls_cert: file of the client certificate, if the server asks for one.
    :param tls_key: file of its private key.
    :param tls_check_hostname: whether the certificate must name the host.
    :param connect_timeout: seconds for connecting, with TLS and login.
    :param timeout: seconds to wait for an answer before the connection is given up.
    :param max_message: largest message body or stored value, in bytes; at most 256 MiB.
    """

    mode: Literal["standalone", "sentinel", "cluster"] = "standalone"
    service: str = "mymaster"
    db: int | None = Field(None, ge=0, le=1_000_000)
    username: str | None = None
    password: SecretStr | None = None
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_check_hostname: bool = True
    connect_timeout: float = Field(5.0, gt=0, le=300, allow_inf_nan=False)
    timeout: float = Field(5.0, gt=0, le=300, allow_inf_nan=False)
    max_message: int = Field(16 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)

    def target(self) -> Target:
        """What the URL and the other settings say together.

        :raises ConfigurationError: they contradict each other, or the URL is malformed.
        """
        target = _parse(self.url or DEFAULT_URL)
        if self.mode == "standalone" and len(target.hosts) > 1:
            raise ConfigurationError(
                "the Redis URL names several hosts: set PAIGEANT_REDIS_MODE=sentinel or cluster, or name one host"
            )
        db = target.db if self.db is None else self.db
        if self.mode == "cluster" and db:
            raise ConfigurationError(f"a Redis Cluster has only database 0, not {db}: unset PAIGEANT_REDIS_DB")
        if self.mode != "standalone" and not target.hosts[0].port:
            raise ConfigurationError(f"PAIGEANT_REDIS_MODE={self.mode} needs hosts in the URL, not a socket")
        return target._replace(
            db=db,
            username=self.username or target.username,
            password=target.password if self.password is None else self.password.get_secret_value(),
        )


class Target(NamedTuple):
    """Hosts, login and database."""

    hosts: Sequence[Address]
    tls: bool
    db: int
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"Target({self.location!r})"  # without the password

    @property
    def location(self) -> str:
        """The URL without credentials."""
        if not self.hosts[0].port:
            return f"unix://{self.hosts[0].host}?db={self.db}"
        return f"redis{'s' * self.tls}://{','.join(map(str, self.hosts))}/{self.db}"


def _parse(url: str) -> Target:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return _socket(parts)
    if parts.scheme not in {"redis", "rediss"} or parts.query or parts.fragment:
        raise _malformed("only the parts shown are understood, options are settings of their own")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    addresses = tuple(_address(host) for host in hosts.split(","))
    db = parts.path.strip("/") or "0"
    if not (db.isascii() and db.isdigit()):
        raise _malformed("the database is a number")
    return Target(addresses, parts.scheme == "rediss", int(db), unquote(user) or None, unquote(password) or None)


def _socket(parts: SplitResult) -> Target:
    name, _, db = parts.query.partition("=")
    if parts.netloc or not parts.path.startswith("/") or (parts.query and (name != "db" or not db.isdigit())):
        raise _malformed("a socket is unix:///absolute/path, optionally with ?db=NUMBER")
    return Target((Address(unquote(parts.path), 0),), False, int(db or 0), None, None)


def _address(text: str) -> Address:
    host, bracket, rest = text.rpartition("]")
    name, _, port = (host + bracket, "", rest.removeprefix(":")) if bracket else text.partition(":")
    name = name.removeprefix("[").removesuffix("]")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _malformed("the port is a number from 1 to 65535")
    return Address(name or "localhost", int(port or _PORT))


def _malformed(why: str) -> ConfigurationError:
    """Never shows the URL itself: it may hold a password."""
    return ConfigurationError(f"the Redis URL (PAIGEANT_REDIS_URL) is malformed: {why}; its form is {_FORM}")
