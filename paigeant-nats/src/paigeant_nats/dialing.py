"""Opening and closing a client of nats-py: one host at a time, within its time, with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import nats.errors

from paigeant.abc import see_through

from .client import HardenedClient
from .errors import cannot_connect, is_telling
from .login import client_options, insist, make_context
from .settings import NatsSettings

_CLOSE_WITHIN = 2.0

Trouble = Callable[[Exception], Awaitable[None]]


async def connect(settings: NatsSettings, also: Iterable[str], trouble: Trouble) -> HardenedClient:
    """A connection to any of the servers. nats-py does not reconnect it: whoever asked dials again.

    What nats-py would do by itself waits for unsent bytes to a server that is out of reach, sends what was
    written for the old connection on the new one, and leaves sockets open.

    :param also: URLs of further servers of the cluster.
    :param trouble: told of errors that belong to no call.
    :raises BackendUnavailable: no server is reached.
    :raises ConfigurationError: the login is refused, or TLS does not fit.
    """
    servers = settings.servers
    urls = random.sample(servers.urls, len(servers.urls))
    urls += [url for url in also if url not in urls]
    failure: BaseException | None = None
    for url in urls:
        try:
            return await _dial(settings, url, trouble)
        except Exception as exc:
            failure = failure if is_telling(failure) else exc
    error = cannot_connect(failure, servers.shown, tls=servers.tls or settings.tls_first)
    raise error from error.__cause__


async def _dial(settings: NatsSettings, url: str, trouble: Trouble) -> HardenedClient:
    client, servers = HardenedClient(), settings.servers
    context = make_context(settings, servers)
    cause: BaseException | None = None

    async def noted(exc: Exception) -> None:
        nonlocal cause
        cause = exc
        await trouble(exc)

    options: dict[str, Any] = client_options(settings, servers, context)
    try:
        async with asyncio.timeout(settings.connect_timeout):
            await client.connect([url], error_cb=noted, **options)
        if servers.tls:
            insist(context)
    except BaseException as exc:
        await see_through(close(client))
        if isinstance(exc, nats.errors.NoServersError) and cause is not None:
            raise cause from exc
        if isinstance(exc, TimeoutError) and _writer(client) is not None:
            told = "it takes connections and then does not answer in time; perhaps another server runs there"
            raise TimeoutError(told) from exc
        raise
    return client


async def close(client: HardenedClient) -> None:
    """Flush and close, but not for long: bytes that nobody takes would keep it open for minutes."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_WITHIN):
            await client.close()
    abort(client)


def abort(client: HardenedClient) -> None:
    """Drop the socket. nats-py has no call for that, and waits for ever where it is needed."""
    if (writer := _writer(client)) is not None:
        writer.transport.abort()


def _writer(client: HardenedClient) -> asyncio.StreamWriter | None:
    """The socket, if there was one."""
    writer: asyncio.StreamWriter | None = getattr(getattr(client, "_transport", None), "_io_writer", None)
    return writer
