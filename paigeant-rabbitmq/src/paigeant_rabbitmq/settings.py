"""The settings of the transport, and the addresses they name."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from paigeant.errors import ConfigurationError
from paigeant.plugins import PluginSettings, split_url

QueueType = Literal["quorum", "classic"]
_PORTS = {"amqp": 5672, "amqps": 5671}
_MOST_SECONDS = 4_294_967.0  # RabbitMQ keeps milliseconds in 32 bits


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class RabbitMQSettings(PluginSettings):
    """``PAIGEANT_RABBITMQ_*``; sizes in bytes, times in seconds.

    :param url: ``amqp://user:password@host:port/vhost``, or ``amqps://`` for TLS; several hosts are separated by
        commas (``amqp://user:password@a,b:5673/vhost``) and tried in random order.
    :param hosts: ``host`` or ``host:port``, in place of those of the URL.
    :param username: wins over the URL's; ``guest`` if neither is set.
    :param password: wins over the URL's; ``guest`` if neither is set.
    :param vhost: virtual host; wins over the URL's path; ``/`` if neither is set.
    :param tls_ca: file of the authorities that may have signed the broker's certificate; default: those of the system.
    :param tls_cert: file of a client certificate.
    :param tls_key: file of its key, if that is not in ``tls_cert``.
    :param tls_verify: ``false`` accepts any certificate: for tests only.
    :param auth: ``plain``, or ``external`` to be who the client certificate says.
    :param queue_type: ``quorum`` is replicated and on disk before a publish returns; ``classic`` is neither.
    :param heartbeat: after about two of these without a byte, either side gives the connection up.
    :param connect_timeout: for one attempt on one host.
    :param timeout: for an answer of the broker, a publisher confirm included.
    :param consumer_timeout: longest time between receipt and acknowledgement that queues are declared with
        (``x-consumer-timeout``, RabbitMQ 3.12 and newer).
    :param max_message: largest body; at most what the broker's ``max_message_size`` allows.
    """

    hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    username: str | None = None
    password: SecretStr | None = None
    vhost: str | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_verify: bool = True
    auth: Literal["plain", "external"] = "plain"
    queue_type: QueueType = "quorum"
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = 10
    connect_timeout: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 5.0
    timeout: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 10.0
    consumer_timeout: Annotated[float, Field(ge=60, le=_MOST_SECONDS, allow_inf_nan=False)] = 7 * 86_400.0
    max_message: Annotated[int, Field(ge=1024, le=128 * 1024 * 1024)] = 16 * 1024 * 1024


class Address(NamedTuple):
    """A host to try."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")


class Place(NamedTuple):
    """Where the broker is and who we are there."""

    addresses: tuple[Address, ...]
    tls: bool
    username: str
    password: SecretStr
    vhost: str

    def __str__(self) -> str:
        return f"{','.join(map(str, self.addresses))} (vhost {self.vhost!r})"

    @classmethod
    def of(cls, settings: RabbitMQSettings) -> Place:
        """:raises ConfigurationError: the URL or a host cannot be read."""
        parts = _parts(settings.url or "amqp://localhost")
        user, _, netloc = parts.netloc.rpartition("@")
        name, _, secret = user.partition(":")
        hosts = settings.hosts or tuple(part for part in netloc.split(",") if part)
        if not hosts:
            raise _malformed("no host is named")
        path = unquote(parts.path.removeprefix("/"))
        return cls(
            tuple(_address(host, _PORTS[parts.scheme]) for host in hosts),
            parts.scheme == "amqps",
            settings.username or unquote(name) or "guest",
            settings.password or SecretStr(unquote(secret) or "guest"),
            settings.vhost or path or "/",
        )


def _parts(url: str) -> SplitResult:
    parts = split_url(url)
    if parts.scheme not in _PORTS:
        raise _malformed("the scheme is neither amqp nor amqps")
    if parts.query or parts.fragment:
        raise _malformed(
            "nothing may follow a '?' or '#': options are settings of their own, such as PAIGEANT_RABBITMQ_HEARTBEAT"
        )
    if "@" in parts.path:  # else the rest of a password would be shown as the virtual host
        raise _malformed("a '/' before '@', or an '@' in the virtual host, is not percent-encoded")
    return parts


def _address(text: str, port: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        given = parts.port
    except ValueError:  # which may show a password as the port
        raise _malformed("a port is no number up to 65535, or a bracket does not enclose an IPv6 address") from None
    if parts.hostname is None or parts.path or parts.username is not None:
        raise _malformed("a host is not of the form host or host:port")
    return Address(parts.hostname, given or port)


def _malformed(why: str) -> ConfigurationError:
    """Never shows the URL or a host itself: they may hold a password."""
    return ConfigurationError(
        f"PAIGEANT_RABBITMQ_URL or PAIGEANT_RABBITMQ_HOSTS: {why}; write amqp://user:password@host:5672/vhost, with "
        "several hosts separated by commas, and special characters of a name or password percent-encoded (%2F for '/')"
    )
