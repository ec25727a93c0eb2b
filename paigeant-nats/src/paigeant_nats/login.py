"""Options of the connection: credentials and TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import nats.errors

from paigeant.errors import ConfigurationError

from .settings import NatsSettings, Servers

PING_EVERY = 5.0
"""Seconds; a server that misses two counts as gone."""


class WatchedContext(ssl.SSLContext):
    """Notes that it was used: a server that offers no TLS would otherwise be talked to in plain text."""

    used = False

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self.used = True
        return super().wrap_bio(*args, **kwargs)


def make_context(settings: NatsSettings, servers: Servers) -> WatchedContext | None:
    """The TLS settings, if there are any.

    :raises ConfigurationError: a file cannot be read.
    """
    files = settings.tls_ca, settings.tls_cert
    if not servers.tls and not any(files) and not settings.tls_first:
        return None
    context = WatchedContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if settings.tls_ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(settings.tls_ca)
        if settings.tls_cert is not None:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as exc:
        name = getattr(exc, "filename", None) or ", ".join(str(file) for file in files if file)
        raise ConfigurationError(
            f"PAIGEANT_NATS_TLS_CA, _CERT, _KEY: {name}: {exc}; give PEM files that this user can read"
        ) from exc
    return context


def client_options(settings: NatsSettings, servers: Servers, context: WatchedContext | None) -> dict[str, Any]:
    """Arguments of ``nats.aio.client.Client.connect``."""
    options: dict[str, Any] = {
        "name": f"paigeant {settings.namespace}",
        "connect_timeout": settings.connect_timeout,
        "allow_reconnect": False,  # we dial again ourselves
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0.01,
        "ping_interval": PING_EVERY,
        "max_outstanding_pings": 2,
        "pending_size": 0,  # bounded by what we have under way
        "inbox_prefix": settings.inbox_prefix,
        "tls_handshake_first": settings.tls_first,
    }
    if context is not None:
        options["tls"] = context
    if settings.tls_hostname is not None:
        options["tls_hostname"] = settings.tls_hostname
    return options | _login(settings, servers, context)


def _login(settings: NatsSettings, servers: Servers, context: WatchedContext | None) -> dict[str, Any]:
    """Secrets are given by functions, called when TLS stands, so that none is ever sent in plain text."""

    def guarded(secret: str) -> Any:
        def tell() -> str:
            if servers.tls:
                insist(context)
            return secret

        return tell

    password = settings.password.get_secret_value() if settings.password else servers.password
    user, token = settings.username or servers.user, settings.token.get_secret_value() if settings.token else None
    if settings.creds_file is not None:
        return {"user_credentials": _checked(settings.creds_file)}
    if settings.nkey_file is not None:
        return {"nkeys_seed": str(settings.nkey_file)}
    if settings.username is not None:
        password = password or ""
    if password is not None and user is None:
        raise ConfigurationError("PAIGEANT_NATS_PASSWORD needs PAIGEANT_NATS_USERNAME, or a user in PAIGEANT_NATS_URL")
    if user is not None and password is not None:
        return {"user": guarded(user), "password": guarded(password)}
    token = token or user
    return {} if token is None else {"token": guarded(token)}


def _checked(creds: Path) -> str:
    """The path, if there is what nats-py looks for in it without end."""
    try:
        text = creds.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"PAIGEANT_NATS_CREDS_FILE: {creds}: {exc.strerror}") from exc
    if any(text.count(mark) != 1 for mark in (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED")):
        raise ConfigurationError(f"PAIGEANT_NATS_CREDS_FILE: {creds} is no file of credentials, as `nsc` makes them")
    return str(creds)


def insist(context: WatchedContext | None) -> None:
    """Fail unless this connection uses TLS."""
    if context is None or not context.used:
        raise nats.errors.SecureConnWantedError
