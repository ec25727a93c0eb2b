"""``paigeant worker``: serve activities until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ..errors import PaigeantError
from . import logs
from .backend import check_shared, run
from .options import Json, Namespace, TransportName
from .output import say, show_json
from .parse import duration, environment
from .targets import brief, load

if TYPE_CHECKING:
    from types import FrameType

    from ..runtime.worker import Worker

log = logging.getLogger("paigeant.worker")

PATIENCE = 2.0
"""Seconds that whatever is left has once the worker has stopped, or was told to for the second time."""


Target: TypeAlias = Annotated[
    str, typer.Argument(help="module, module:name, or path/file.py[:name]", metavar="TARGET", show_default=False)
]
Concurrency: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Activities at the same time; default 100.", show_default=False)
]
Lease: TypeAlias = Annotated[
    str | None, typer.Option(help="Time until a lost worker's work is taken over; default 30s.", show_default=False)
]
Grace: TypeAlias = Annotated[
    str | None, typer.Option(help="Time for running activities when stopping; default 30s.", show_default=False)
]
LogLevel: TypeAlias = Annotated[logs.Level, typer.Option(help="Least severe line to log.")]
LogFormat: TypeAlias = Annotated[logs.Format, typer.Option(help="How a line is written.")]


def worker(
    target: Target,
    transport: TransportName = None,
    namespace: Namespace = None,
    concurrency: Concurrency = None,
    lease: Lease = None,
    grace: Grace = None,
    log_level: LogLevel = logs.Level.INFO,
    log_format: LogFormat = logs.Format.TEXT,
    as_json: Json = False,
) -> None:
    """Serve the activities of a module, or a worker.

    The options are settings of this process (PAIGEANT_CONCURRENCY and so on): what the code of a worker
    states itself counts more. SIGTERM or Ctrl-C drains: running activities finish within the grace period,
    the rest is given back. A second signal stops at once.
    """
    from ..runtime.process import long_running

    logs.configure(log_level, logs.Format.JSON if as_json else log_format)
    options = {
        "transport": transport,
        "namespace": namespace,
        "concurrency": concurrency,
        "lease": duration(lease, "--lease", least=1),
        "grace": duration(grace, "--grace", least=0),
    }
    with _settings(environment(options)):
        made = _worker(target)
        check_shared(made.transport)
        _announce(made, as_json=as_json)
        # What activities print must not mix with the JSON on stdout.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), long_running():
            raise typer.Exit(run(serve(made)))


def _worker(target: str) -> Worker:
    from ..runtime.transports import get_transport
    from ..runtime.worker import Worker

    found = load(target)
    return found if isinstance(found, Worker) else Worker(get_transport(), found)


def _announce(worker: Worker, *, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "worker": worker.name,
        "namespace": worker.transport.namespace,
        "location": worker.transport.location,
        "activities": sorted(worker.activities),
        "queues": list(worker.queues),
    }
    if as_json:
        show_json(facts)
    place = f", data in {worker.transport.location}" if worker.transport.location else ""
    log.info("worker %s, namespace %s%s", worker.name, worker.transport.namespace, place)


async def serve(worker: Worker) -> int:
    """Run the worker until SIGTERM or SIGINT.

    :returns: 0 after a drain; 128 and the number of the signal after a second one.
    """
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def stop(number: int, frame: FrameType | None) -> None:
        # A handler of the interpreter, not of the loop: it runs even while an activity blocks the loop.
        received.append(number)
        if len(received) == 2:
            _leave_soon(128 + number)
        loop.call_soon_threadsafe(worker.stop)

    with _handlers(stop), _in_short():
        await worker.run()
    code = 128 + received[-1] if len(received) > 1 else 0
    _leave_soon(code)
    return code


@contextlib.contextmanager
def _in_short() -> Generator[None, None, None]:
    """What the user's own code raises, in its lifespan say, is no reason for a long traceback."""
    try:
        yield
    except PaigeantError:
        raise
    except Exception as exc:
        say(brief(exc))
        raise PaigeantError(f"the worker ended with {type(exc).__name__}: {exc}") from exc


def _leave_soon(code: int) -> None:
    """End the process even if plain functions go on in their threads, which Python would wait for without
    end: their work was given back already."""
    timer = threading.Timer(PATIENCE, _leave, [code])
    timer.daemon = True
    timer.start()


def _leave(code: int) -> None:
    log.warning("something did not stop within %g s; the process ends without it", PATIENCE)
    sys.stdout.flush()
    os._exit(code)


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Generator[None, None, None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def _settings(values: Mapping[str, str]) -> Generator[None, None, None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
