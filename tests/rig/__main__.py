"""``python -m rig TRANSPORT -- COMMAND...`` runs a command against a broker that it starts, and stops it again.

``python -m rig fetch`` brings all programs into the cache, several at a time. TRANSPORT is ``redis``, ``rabbitmq``,
``nats``, or ``sqlite``, which needs no broker. A server named in ``RIG_<TRANSPORT>_URL`` is used instead.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rig import versions
from rig.brokers import BrokerError, NatsServer, RabbitServer, RedisServer, RunningServer, Server
from rig.packages import Unavailable

KINDS: Mapping[str, type[Server]] = {kind.name: kind for kind in (RedisServer, RabbitServer, NatsServer)}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rig", description="Runs a command against a broker that it starts, and stops it again."
    )
    parser.add_argument("transport", choices=[*KINDS, "sqlite", "fetch"])
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="what to run, after --")
    asked = parser.parse_args(arguments)
    try:
        if asked.transport == "fetch":
            return fetch()
        if not asked.command:
            parser.error("no command: python -m rig TRANSPORT -- COMMAND...")
        return run(asked.transport, asked.command)
    except (BrokerError, Unavailable) as failed:
        print(failed, file=sys.stderr)
        return 1


def fetch() -> int:
    """All programs, two at a time; fails if one cannot be had."""
    with ThreadPoolExecutor(2) as pool:
        return max(pool.map(_fetched, versions.ALL))


def _fetched(name: str) -> int:
    since = time.monotonic()
    try:
        installation = versions.ALL[name]()
    except Unavailable as missing:
        print(missing, file=sys.stderr)
        return 1
    print(f"{name}: {installation.path} ({time.monotonic() - since:.1f} s)", flush=True)
    return 0


def run(transport: str, command: Sequence[str]) -> int:
    """The exit code of the command."""
    signal.signal(signal.SIGTERM, _told_to_stop)
    with (
        tempfile.TemporaryDirectory(prefix="paigeant-rig-") as directory,
        broker(transport, Path(directory)) as environment,
    ):
        return _exit_code(command, environment)


@contextmanager
def broker(transport: str, directory: Path) -> Generator[dict[str, str]]:
    """A running broker: the settings that make Paigeant use it, with a state store where it has none of its own."""
    store = {"PAIGEANT_SQLITE_PATH": str(directory / "paigeant.db")}
    if transport == "sqlite":
        yield {"PAIGEANT_TRANSPORT": "sqlite", **store}
        return
    if transport == "rabbitmq":
        store["PAIGEANT_STATE_STORE"] = "sqlite"
    named = RunningServer.named(transport)
    if named is not None:
        yield {**named.environment, **store}
        return
    with KINDS[transport](directory / transport) as server:
        yield {**server.environment, **store}


def _told_to_stop(number: int, _: object) -> None:
    """Leave in order: end the command, stop the broker, delete the directory."""
    sys.exit(128 + number)


def _exit_code(command: Sequence[str], environment: Mapping[str, str]) -> int:
    with subprocess.Popen(list(command), env={**os.environ, **environment}) as running:
        try:
            return running.wait()
        except KeyboardInterrupt:  # the command has heard it as well
            return running.wait()
        finally:
            running.terminate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
