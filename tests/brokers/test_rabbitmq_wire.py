"""What arrives in pieces, in any pieces."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import pamqp.frame
import pytest
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError
from pamqp import body, commands, header

from paigeant.errors import BackendUnavailable
from paigeant_rabbitmq import frames
from paigeant_rabbitmq.link import Link
from paigeant_rabbitmq.settings import Address, Place, RabbitMQSettings
from paigeant_rabbitmq.wire import Wire, WireReader, WireWriter


class Seen:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []

    def on_confirm(self, tag: int, multiple: bool, stored: bool) -> None:
        self.log.append((tag, multiple, stored))

    def on_message(self, method: bytes, header: bytes, body: bytes, returned: bool) -> None:
        self.log.append((method, header, body, returned))

    def on_close(self) -> None:
        self.log.append(("closed",))


def content(channel: int, method: Any, data: bytes) -> list[bytes]:
    properties = commands.Basic.Properties(headers={"a": "b"}, message_id="m")
    parts: list[Any] = [method, header.ContentHeader(body_size=len(data), properties=properties)]
    parts += [body.ContentBody(data[at : at + 90]) for at in range(0, len(data), 90)]
    return [pamqp.frame.marshal(part, channel) for part in parts]


def one(channel: int, method: Any) -> bytes:
    return pamqp.frame.marshal(method, channel)


EMPTY = content(1, commands.Basic.Deliver("t", 1, False, "", "q"), b"")
LONG = content(1, commands.Basic.Deliver("t", 2, True, "", "q"), b"y" * 400)
RETURNED = content(2, commands.Basic.Return(312, "NO_ROUTE", "", "q"), b"z" * 300)
CONFIRMS = [one(2, commands.Basic.Ack(3, True)), one(2, commands.Basic.Nack(4, False, False))]
OTHERS = [frames.HEARTBEAT, one(9, commands.Channel.OpenOk()), one(0, commands.Connection.Blocked("memory")),
          one(0, commands.Connection.Unblocked()), frames.HEARTBEAT]  # fmt: skip


def interleaved(chance: random.Random) -> bytes:
    """Frames of several channels, each in its order."""
    rest = [EMPTY + LONG, RETURNED + CONFIRMS, list(OTHERS)]
    rest = [list(frames) for frames in rest]
    found: list[bytes] = []
    while rest := [frames for frames in rest if frames]:
        found.append(chance.choice(rest).pop(0))
    return b"".join(found)


def outcome(data: bytes, cuts: list[int]) -> tuple[object, ...]:
    reader: Any = asyncio.StreamReader(limit=2**20)
    wire, first, second, blocked = Wire(reader, asyncio.get_running_loop()), Seen(), Seen(), list[str | None]()
    wire.sinks.adopt(1, first)
    wire.sinks.adopt(2, second)
    wire.on_blocked = blocked.append
    wire._shown = math.inf  # no heartbeat of its own
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        wire.data_received(data[start:end])
    return first.log, second.log, blocked, bytes(reader._buffer)


async def test_frames_may_be_cut_anywhere_and_come_in_any_order_of_channels() -> None:
    chance = random.Random(7)
    for turn in range(20):
        data = interleaved(chance)
        whole = outcome(data, [])
        deliveries, confirms, blocked, library = whole
        assert [entry[2] for entry in deliveries] == [b"", b"y" * 400]  # type: ignore[attr-defined]
        assert confirms[1:] == [(3, True, True), (4, False, False)]  # type: ignore[index]
        assert (blocked, library) == (["memory", None], b"".join(OTHERS))
        assert outcome(data, list(range(1, len(data)))) == whole
        assert outcome(data, sorted(chance.sample(range(1, len(data)), 20))) == whole
        for cut in range(1, len(data)) if turn == 0 else ():
            assert outcome(data, [cut]) == whole


async def test_a_channel_that_is_closed_within_a_message_leaves_nothing_to_the_next_of_its_number() -> None:
    wire, first, second = Wire(asyncio.StreamReader(), asyncio.get_running_loop()), Seen(), Seen()
    wire.sinks.adopt(1, first)
    wire.data_received(b"".join(LONG[:-1]) + one(1, commands.Channel.Close(404, "gone", 0, 0)))
    assert first.log == [("closed",)]
    wire.sinks.adopt(1, second)
    wire.data_received(LONG[-1] + b"".join(EMPTY))
    assert [entry[2] for entry in second.log] == [b""]


async def test_what_is_no_amqp_is_left_to_the_library() -> None:
    reader: Any = asyncio.StreamReader()
    wire = Wire(reader, asyncio.get_running_loop())
    wire.data_received(b"HTTP/1.1 400 Bad Request\r\n")
    wire.data_received(b"\r\n")
    assert bytes(reader._buffer) == b"HTTP/1.1 400 Bad Request\r\n\r\n"


class Late(Link):
    """Its library reads nothing before the server has hung up."""

    async def _streams(self, address: Address) -> tuple[asyncio.StreamReader, WireWriter, Wire]:
        reader, writer, wire = await super()._streams(address)
        lost = asyncio.Event()
        wire.on_lost = lambda _: lost.set()
        if not wire.lost:
            await lost.wait()
        return reader, writer, wire


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_server_that_hangs_up_before_it_is_read_is_not_reached() -> None:
    """Any other error would end the task that connects again."""
    async with await asyncio.start_server(hang_up, "127.0.0.1") as server:
        chosen = RabbitMQSettings(url=f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(BackendUnavailable, match="unexpectedly closed"):
            await Late(Place.of(chosen), chosen, "late").open()


async def test_the_end_of_a_connection_is_an_error_for_the_library_even_between_two_frames() -> None:
    reader = WireReader()
    reader.feed_data(frames.HEARTBEAT)
    reader.feed_eof()
    with pytest.raises(AMQPConnectionError):
        async for _ in FrameReceiver(reader):
            pass
