"""The transport that commands work on: shared with other processes, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..abc import Transport
    from ..runtime.client import WorkflowClient

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine. Ctrl-C ends the command with 130."""
    try:
        return asyncio.run(main)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@asynccontextmanager
async def shared_transport(name: str | None, namespace: str | None) -> AsyncGenerator[Transport, None]:
    """The transport, connected.

    :raises ConfigurationError: it is local to one process, so a command could see nothing there.
    """
    from ..runtime.transports import get_transport

    transport = get_transport(name, namespace=namespace)
    check_shared(transport)
    async with transport:
        yield transport


@asynccontextmanager
async def workflow_client(name: str | None, namespace: str | None) -> AsyncGenerator[WorkflowClient, None]:
    """A client on the shared transport."""
    from ..runtime.client import WorkflowClient

    async with shared_transport(name, namespace) as transport, WorkflowClient(transport) as client:
        yield client


def check_shared(transport: Transport) -> None:
    """Refuse a transport that no other process can see.

    :raises ConfigurationError: it is one.
    """
    if transport.scope == "process":
        raise ConfigurationError(
            f"{type(transport).__name__} lives inside one process, and here other processes take part: "
            "choose a transport that they share, for instance PAIGEANT_TRANSPORT=sqlite (or --transport sqlite)"
        )
