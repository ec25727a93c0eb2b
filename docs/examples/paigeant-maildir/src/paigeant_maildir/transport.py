"""A directory per queue, a file per message. Whoever renames a file owns it until the time that the file bears."""

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Collection, Generator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

from pydantic import Base64Bytes, TypeAdapter

from paigeant.abc import Consumer, Delivery, Transport, check_consume, check_limit
from paigeant.errors import BackendClosed, BackendUnavailable, ConfigurationError, LeaseLost
from paigeant.model.capabilities import Capabilities
from paigeant.model.message import Message, Publication, QueueStats
from paigeant.model.store import Write

CAPABILITIES = Capabilities(durable=True, renewable=True, max_delay=None, persistent_queues=True)
FORMAT = TypeAdapter(tuple[str, dict[str, str], Base64Bytes])


class MaildirTransport(Transport):
    scope = "host"

    def __init__(self, path: Path, namespace: str) -> None:
        self.namespace, self.path, self.data_directory, self.location = namespace, path, path, str(path)
        self.root: Path | None = None

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def connect(self) -> None:
        with mapped():
            (self.path / self.namespace).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = self.path / self.namespace

    async def disconnect(self) -> None:
        self.root = None

    def clone(self) -> "MaildirTransport":
        return MaildirTransport(self.path, self.namespace)

    def folder(self, queue: str) -> Path:
        if self.root is None:
            raise BackendClosed("the maildir is not connected: call connect(), or use it with 'async with'")
        return self.root / f"q-{queue}"

    def files(self, queue: str) -> list[tuple[float, Path]]:
        """Each message with the time at which it may be received, in that order."""
        found: list[tuple[float, Path]] = []
        for path in self.folder(queue).glob("m-*"):
            with suppress(FileNotFoundError):  # settled, or taken by another
                found.append((path.stat().st_mtime, path))
        return sorted(found)

    def ready(self, queue: str, limit: int | None = None) -> list[Path]:
        return [path for due, path in self.files(queue) if due <= time.time()][:limit]

    async def publish(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        folders = [self.folder(p.queue) for p in publications] if self.folder("") else []
        if writes:
            raise ConfigurationError("a maildir has no store, so no writes can ride along")
        with mapped():
            await asyncio.to_thread(lambda: [*map(write, folders, publications)])

    @asynccontextmanager
    async def consume(
        self, queues: Collection[str], *, lease: float, expires: float | None = None
    ) -> AsyncGenerator["MaildirTransportConsumer"]:
        for folder in map(self.folder, (names := check_consume(queues, lease, expires))):
            with mapped(), suppress(FileExistsError):
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / "lease").symlink_to(f"{lease:g}")  # T21: made together with what it says
            if (found := str((folder / "lease").readlink())) != f"{lease:g}":
                raise ConfigurationError(f"{folder} has a lease of {found} s, not {lease:g} s")
        with closing(MaildirTransportConsumer(self, names, lease)) as consumer:
            yield consumer

    async def renew(self, tokens: Collection[str]) -> set[str]:
        root, lost = self.folder("").parent, set(tokens)
        for token in tokens:
            with suppress(OSError):  # another has it by now, under another name
                set_due(root / token, float(str((root / token).with_name("lease").readlink())))
                lost.remove(token)
        return lost

    async def queues(self, *names: str) -> dict[str, QueueStats]:
        return {q: stats(self.files(q)) for q in names or [p.name[2:] for p in self.folder("").parent.glob("q-*")]}

    async def peek(self, queue: str, limit: int = 100) -> list[Message]:
        return [message for path in self.ready(queue, limit) if (message := read(path))]

    async def purge(self, queue: str) -> int:
        for path in (found := self.ready(queue)):
            path.unlink(missing_ok=True)
        return len(found)

    def state_store(self) -> None:
        return None


class MaildirTransportConsumer(Consumer):
    def __init__(self, transport: MaildirTransport, queues: list[str], lease: float) -> None:
        self.transport, self.queues, self.lease = transport, queues, lease

    async def receive(self, limit: int) -> list[Delivery]:
        check_limit(limit)
        while self.queues:
            self.queues.append(self.queues.pop(0))  # T25: another one is first next time
            for queue in self.queues:
                if found := [got for path in self.transport.ready(queue, limit) if (got := self.take(queue, path))]:
                    return found
            await asyncio.sleep(random.uniform(0.03, 0.07))  # T25: nobody is always first. T26: nothing in hand
        raise BackendClosed("this consumer was left: open another one with consume()")

    def close(self) -> None:
        self.queues.clear()  # what it holds comes back when its lease ends

    def take(self, queue: str, path: Path) -> Delivery | None:
        mine = path.with_name(f"{path.name.partition('+')[0]}+{os.urandom(16).hex()}")  # new each time: the fence
        with suppress(FileNotFoundError):  # another was first
            set_due(path.rename(mine), self.lease)
            if message := read(mine):
                return MaildirTransportDelivery(self.transport, queue, message, mine)
            mine.rename(mine.with_name(f"bad-{mine.name}"))  # not one of ours: kept for a person to look at
        return None


class MaildirTransportDelivery(Delivery):
    def __init__(self, transport: MaildirTransport, queue: str, message: Message, path: Path) -> None:
        self.transport, self.queue, self.message, self.path = transport, queue, message, path
        self.deliveries, self.lease_token = None, f"{path.parent.name}/{path.name}"

    async def settle(self, *publications: Publication, writes: Sequence[Write] = ()) -> None:
        if await self.transport.renew([self.lease_token]):
            raise LeaseLost(f"{self.lease_token!r} is not owned any more")
        await self.transport.publish(*publications, writes=writes)  # T60: first the successors
        self.path.unlink(missing_ok=True)

    async def release(self, delay: float = 0.0) -> None:
        if await self.transport.renew([self.lease_token]):
            raise LeaseLost(f"{self.lease_token!r} is not owned any more")
        set_due(self.path.rename(self.path.with_name(self.path.name.partition("+")[0])), delay)


def write(folder: Path, publication: Publication) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    name, message = f"m-{os.urandom(16).hex()}", publication.message
    with (folder / f"new-{name}").open("xb", buffering=0) as file:
        file.write(FORMAT.dump_json((message.id, dict(message.headers), message.body)))
        os.fsync(file.fileno())
    set_due(folder / f"new-{name}", publication.delay)
    (folder / f"new-{name}").rename(folder / name)  # nobody sees half a message


def read(path: Path) -> Message | None:
    with suppress(ValueError):
        message_id, headers, body = FORMAT.validate_json(path.read_bytes())
        return Message(message_id, body, headers)
    return None


def set_due(path: Path, delay: float) -> None:
    os.utime(path, (due := time.time() + delay, due))


def stats(files: list[tuple[float, Path]]) -> QueueStats:
    leased = ["+" in path.name for due, path in files if due > time.time()]
    return QueueStats(len(files) - len(leased), sum(leased), len(leased) - sum(leased))


@contextmanager
def mapped() -> Generator[None]:
    try:
        yield
    except OSError as exc:  # T03
        raise BackendUnavailable(f"maildir {exc.filename!r}: {exc.strerror}; check PAIGEANT_MAILDIR_PATH") from exc
