"""The settings of the Redis plugin. Imports no client library."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, unquote

from pydantic import Field, SecretStr

from paigeant.errors import ConfigurationError
from paigeant.plugins import PluginSettings, split_url

DEFAULT_URL: Final = "redis://localhost:6379/0"
_PORT: Final = 6379
_TLS_FILES: Final = "tls_ca", "tls_cert", "tls_key"
_FORM = (
    "redis://host[:port][,host[:port]...][/db], rediss:// for TLS, or unix:///path/to/socket; a login, user:password@, "
    "stands before the first host, special characters percent-encoded: # is %23, / is %2F, ? is %3F, @ is %40, % is %25"
)


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
    :param timeout: seconds to wait for an answer, or for more of one, and one more for each MiB on its way to the
        server, before the connection is given up.
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
        if not target.tls and (ignored := self._tls_only()):
            raise ConfigurationError(
                f"{', '.join(ignored)} would do nothing: the Redis URL is not rediss://, so nothing is encrypted; "
                "write rediss://, or unset them"
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

    def tls_files(self) -> dict[str, str]:
        """The files of certificates and keys, by the names that redis-py has for them.

        :raises ConfigurationError: one cannot be read, or there is a key without its certificate.
        """
        if self.tls_key is not None and self.tls_cert is None:
            raise ConfigurationError("PAIGEANT_REDIS_TLS_KEY is set, but no PAIGEANT_REDIS_TLS_CERT to go with it")
        files = {"ca_certs": self.tls_ca, "certfile": self.tls_cert, "keyfile": self.tls_key}
        for path, name in zip(files.values(), _TLS_FILES, strict=True):
            try:
                if path is not None:
                    path.open("rb").close()
            except OSError as exc:
                raise ConfigurationError(
                    f"{_variable(name)} names the file {str(path)!r}, which cannot be read ({exc.strerror}); correct it"
                ) from exc
        return {f"ssl_{name}": str(path) for name, path in files.items() if path is not None}

    def _tls_only(self) -> list[str]:
        """The variables that are set, and mean nothing without TLS."""
        found = [name for name in _TLS_FILES if getattr(self, name) is not None]
        return [_variable(name) for name in (*found, *(() if self.tls_check_hostname else ("tls_check_hostname",)))]


def _variable(field: str) -> str:
    return f"PAIGEANT_REDIS_{field.upper()}"


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
    parts = split_url(url)
    if parts.scheme == "unix":
        return _socket(parts)
    if parts.scheme not in {"redis", "rediss"}:
        raise _malformed("it does not begin with redis://, rediss:// or unix://")
    if parts.fragment:
        raise _malformed("a '#' in it is not percent-encoded")
    if parts.query:
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
    if bracket or "[" in name:
        name = _ipv6(name)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _malformed("the port is a number from 1 to 65535")
    return Address(name or "localhost", int(port or _PORT))


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text[1:-1] if text.startswith("[") else text))
    except ValueError:  # which may show the password
        raise _malformed("a bracket in it does not enclose an IPv6 address") from None


def _malformed(why: str) -> ConfigurationError:
    """Never shows the URL itself: it may hold a password."""
    return ConfigurationError(f"the Redis URL (PAIGEANT_REDIS_URL) is malformed: {why}; its form is {_FORM}")
