"""The conformance kit, and what it cannot know: files that are not messages."""

import asyncio
import json
from pathlib import Path

from paigeant_maildir.transport import CAPABILITIES, MaildirTransport

from paigeant.model.message import Message, Publication
from paigeant.testing import PluginSuite, TransportSuite


class TestMaildirTransport(TransportSuite):
    capabilities = CAPABILITIES

    def make(self, tmp_path: Path) -> MaildirTransport:
        return MaildirTransport(tmp_path, self.namespace)

    def make_unreachable(self, tmp_path: Path) -> MaildirTransport:
        (tmp_path / "file").touch()
        return MaildirTransport(tmp_path / "file", self.namespace)


class TestMaildirTransportPlugin(PluginSuite):
    name = "maildir"
    kinds = ("transport",)

    def environment(self, tmp_path: Path) -> dict[str, str]:
        return {"PAIGEANT_MAILDIR_PATH": str(tmp_path / "mail")}


def test_what_is_not_a_message_is_put_aside(tmp_path: Path) -> None:
    async def receive() -> list[str]:
        async with (
            MaildirTransport(tmp_path, "default") as transport,
            transport.consume(["work"], lease=30.0) as consumer,
        ):
            queue = tmp_path / "default" / "q-work"
            for number, text in enumerate((b"", b"{", json.dumps(["id", {"n": 1}, "!"]).encode())):
                (queue / f"m-{number}").write_bytes(text)
            await transport.publish(Publication("work", Message("good", b"body", {"n": "1"})))
            found = await consumer.receive(10)
            assert [(one.message.id, one.message.body) for one in found] == [("good", b"body")]
            return sorted(path.name[:7] for path in queue.glob("bad-*"))

    assert asyncio.run(receive()) == ["bad-m-0", "bad-m-1", "bad-m-2"]


def test_clients_of_one_directory_see_each_other(tmp_path: Path) -> None:
    async def play() -> None:
        async with MaildirTransport(tmp_path, "default") as one, MaildirTransport(tmp_path, "default") as other:
            await one.publish(Publication("work", Message("m", b"")), Publication("work", Message("later", b""), 60.0))
            stats = (await other.queues())["work"]
            assert (stats.ready, stats.in_flight, stats.delayed) == (1, 0, 1)

    asyncio.run(play())
