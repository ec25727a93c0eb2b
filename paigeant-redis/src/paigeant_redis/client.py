"""The little of redis-py and hiredis that is used, with types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, cast

import hiredis
from redis import exceptions as client
from redis._parsers import _AsyncHiredisParser
from redis.asyncio.connection import AbstractConnection

Reply: TypeAlias = Any
"""An answer as redis-py gives it: ``bytes``, ``int``, ``None`` or a list of such."""
Argument: TypeAlias = bytes | str | int | float
"""A part of a command."""


class Parser(_AsyncHiredisParser):
    """Remembers when bytes last arrived: an answer may take its time on a slow network."""

    heard = 0.0

    async def read_response(self, *args: Any, **options: Any) -> Reply:
        """The next answer; what redis-py cannot read, such as an odd redirection, is nonsense and no bug of ours."""
        try:
            return await cast("Any", super()).read_response(*args, **options)
        except ValueError as exc:
            raise client.InvalidResponse(f"an error it told cannot be read: {exc}") from exc

    async def read_from_socket(self) -> Literal[True]:
        """Read what has arrived, or wait for it."""
        done: Literal[True] = await cast("Any", super()).read_from_socket()
        self.heard = asyncio.get_running_loop().time()
        return done


class Connection(Protocol):
    """A connection of redis-py, without retries, pools and time-outs."""

    async def connect(self) -> None:
        """Connect and log in."""

    async def send_command(self, *args: str) -> None:
        """Send a command."""

    async def read_response(self, disable_decoding: bool = False, *, disconnect_on_error: bool = True) -> Reply:
        """The next answer; raises it if it is an error."""

    async def disconnect(self, nowait: bool = False) -> None:
        """Hang up."""


pack = cast("Callable[[tuple[Argument, ...]], bytes]", getattr(hiredis, "pack_command"))  # noqa: B009 - its type is wrong


def typed(connection: AbstractConnection) -> Connection:
    """A connection of redis-py, whose annotations are incomplete, as what it is."""
    return cast("Connection", connection)


async def send(connection: Connection, packed: bytes) -> None:
    """Send what ``pack`` made, and wait while much is to be sent.

    Who is cancelled meanwhile has sent it nevertheless. redis-py would hang up then, on all the others, too.
    """
    writer: asyncio.StreamWriter = cast("Any", connection)._writer
    writer.write(packed)
    await writer.drain()


def heard(connection: Connection) -> float:
    """When bytes last arrived, on the clock of the event loop."""
    parser: Parser = cast("Any", connection)._parser
    return parser.heard


def cut(connection: Connection) -> None:
    """Hang up at once, from wherever: what a dead peer has not taken is of no use."""
    inner = cast("Any", connection)
    if (writer := inner._writer) is not None:
        writer.transport.abort()
    inner._close()
