"""What can be configured. Imports no client library."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr

from paigeant.errors import ConfigurationError
from paigeant.plugins import PluginSettings

DEFAULT_URL = "nats://localhost:4222"
_SCHEMES = ("nats", "tls")


class NatsSettings(PluginSettings):
    """``PAIGEANT_NATS_*``.

    :param url: ``nats://host:4222``, several hosts with commas, ``tls://`` to insist on TLS. User and
        password, or a token, may be part of it; special characters are percent-encoded.
        Default ``nats://localhost:4222``.
    :param username: with ``password``, where the URL has none.
    :param password: see ``username``.
    :param token: instead of user and password.
    :param creds_file: a ``.creds`` file (JWT and seed) of a decentralised account.
    :param nkey_file: a file with the seed of an nkey.
    :param tls_ca: PEM of the authorities to trust; default: those of the system.
    :param tls_cert: PEM of our own certificate, for mutual TLS.
    :param tls_key: PEM of its key; default: in ``tls_cert``.
    :param tls_hostname: name expected in the server's certificate; default: the host of the URL.
    :param tls_first: TLS before the first byte, for servers with ``handshake_first``.
    :param inbox_prefix: first tokens of the subjects that answers come to; for users with few rights.
    :param domain: JetStream domain.
    :param replicas: copies of each stream, 1 to 5; used when a stream is made, compared with one that
        is there. Default: 1 for a new stream, whatever it is for an existing one.
    :param dedup_window: seconds in which a message id counts as a repeat; default 120 for a new
        stream, whatever it is for an existing one.
    :param atomic: ``settle`` publishes and acknowledges in one act (server 2.12.1 or newer). Slower
        for single messages: the server syncs its file for each batch.
    :param max_ack_pending: deliveries of one queue that may be open at once, delayed releases included.
    :param connect_timeout: seconds until a server that does not answer counts as out of reach.
    :param timeout: seconds until a request that got no answer fails, unless the answer may still be on its way.
    """

    url: str | None = Field(None, repr=False)
    username: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    creds_file: Path | None = None
    nkey_file: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_hostname: str | None = None
    tls_first: bool = False
    inbox_prefix: str = Field("_INBOX", pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")
    domain: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]+$")
    replicas: int | None = Field(None, ge=1, le=5)
    dedup_window: float | None = Field(None, ge=0.1, le=86_400)
    atomic: bool = False
    max_ack_pending: int = Field(100_000, ge=1, le=10_000_000)
    connect_timeout: float = Field(5.0, gt=0, le=300)
    timeout: float = Field(5.0, gt=0, le=300)

    @property
    def servers(self) -> Servers:
        """The hosts of the URL.

        :raises ConfigurationError: it is not a NATS URL. The message never shows it: it may hold a password.
        """
        return Servers.parse(self.url or DEFAULT_URL)


@dataclass(frozen=True, slots=True)
class Servers:
    """Where to connect.

    :param urls: one URL per host, without credentials.
    :param shown: the hosts, for people.
    :param tls: the URL insists on TLS.
    :param loopback: every host is this machine.
    :param user: from the URL; alone, without a password, it is a token.
    :param password: from the URL.
    """

    urls: tuple[str, ...]
    shown: str
    tls: bool
    loopback: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Servers:
        """Split ``nats://user:password@a,b:4223,c``; scheme and credentials count for all hosts, and each may repeat
        the scheme, as other clients of NATS write it."""
        scheme, _, rest = url.partition("://")
        rest = rest.replace(f",{scheme}://", ",")
        if scheme not in _SCHEMES or not rest or any(mark in rest for mark in "?#") or "/" in rest.rstrip("/"):
            raise _bad_url("is not nats://host:port or tls://host:port, several hosts separated by commas")
        logins, names = set[str](), list[str]()
        for place in rest.rstrip("/").split(","):
            login, _, address = place.strip().rpartition("@")
            logins |= {login} if login else set()
            names.append(_address(address))
        if len(logins) > 1:
            raise _bad_url("has different credentials for its hosts; give them once")
        user, _, password = next(iter(logins), "").partition(":")
        urls = tuple(f"{scheme}://{name}" for name in names)
        loopback = all(map(_is_loopback, names))
        return cls(urls, ",".join(names), scheme == "tls", loopback, unquote(user) or None, unquote(password) or None)


def _address(text: str) -> str:
    """``host:port``, with the default port."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port or 4222
    except ValueError:  # which may show a password as the port
        raise _bad_url("has a port that is no number, or a broken IPv6 address") from None
    if not parts.hostname or any(c.isspace() for c in text):
        raise _bad_url("has a host without a name")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return host in {"localhost", "::1"} or host.startswith("127.")


def _bad_url(why: str) -> ConfigurationError:
    return ConfigurationError(f"the NATS URL (PAIGEANT_NATS_URL, or given in place of a name) {why}")
