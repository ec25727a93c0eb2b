"""What every private server has in common."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rig.certificates import Certificates
from rig.packages import Installation
from rig.ports import HOST, free_port
from rig.processes import Program

PATIENCE = 90.0
"""Seconds until a server must answer; a loaded machine takes RabbitMQ there in ten."""
ATTEMPTS = 5
"""Ports tried, when others take them first."""


class BrokerError(RuntimeError):
    """A server did not start, or a command of it failed."""


class Server(ABC):
    """One private server, whose data survives ``kill`` and ``restart`` and is deleted by ``wipe``.

    :param directory: for its data, configuration and log; made if missing.
    :param config: settings of the server itself, over those of the rig.
    :param installation: its program; by default the newest that needs no download.
    :param port: where it listens; by default a free one, the same over all restarts.
    :param tls: serve TLS only, with this certificate.
    """

    name: str
    taken: tuple[str, ...] = ("ddress already in use",)
    """What its log says if the port is somebody else's."""

    def __init__(
        self,
        directory: Path,
        *,
        config: Mapping[str, Any] | None = None,
        installation: Installation | None = None,
        port: int | None = None,
        tls: Certificates | None = None,
    ) -> None:
        self.directory, self.config, self.tls = directory, dict(config or {}), tls
        self.installation = installation or self.install(tls is not None)
        self.host, self.port = HOST, port or 0
        self._fixed = port is not None
        self._program: Program | None = None
        self._said_before = 0

    @classmethod
    @abstractmethod
    def install(cls, tls: bool) -> Installation:
        """The program used by default, fetched if need be; one that can serve TLS, if so wanted."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @property
    def environment(self) -> dict[str, str]:
        """Settings that make Paigeant use it."""
        prefix = f"PAIGEANT_{self.name.upper()}"
        trust = {f"{prefix}_TLS_CA": str(self.tls.authority)} if self.tls else {}
        return {"PAIGEANT_TRANSPORT": self.name, f"{prefix}_URL": self.url, **trust}

    @abstractmethod
    def _command(self) -> list[str]:
        """Write the configuration; return what starts the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves clients. Any ``OSError`` is a no."""

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def running(self) -> bool:
        return self._program is not None and self._program.running

    def start(self) -> None:
        """Start it, and wait until it answers.

        :raises BrokerError: with the end of its log.
        """
        if self.running:
            return
        for _ in range(1 if self._fixed else ATTEMPTS):
            if not self._fixed:
                self.port = free_port()
            self._launch()
            if self._await_answer():
                self._fixed = True  # a restart must be found by the same clients
                return
        raise BrokerError(f"{self.name}: no free port in {ATTEMPTS} attempts\n{self.log}")

    def stop(self) -> None:
        """Stop it in order. Idempotent."""
        if self._program is not None:
            self._program.stop()
            self._program = None

    def kill(self) -> None:
        """``SIGKILL``: no last words, no flush."""
        self._running().kill()
        self._program = None

    def pause(self) -> None:
        """``SIGSTOP``: connections stay open, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """``SIGCONT``."""
        self._running().send(signal.SIGCONT)

    def restart(self) -> None:
        """Stop it in order and start it again, on the same port and data."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Delete its data. It must be stopped."""
        if self.running:
            raise BrokerError(f"{self.name} on port {self.port} still runs: stop() or kill() it before wipe()")
        shutil.rmtree(self.data, ignore_errors=True)

    def _connect(self, seconds: float) -> socket.socket:
        """As a client does, with TLS if it serves that."""
        plain = socket.create_connection((self.host, self.port), seconds)
        if self.tls is None:
            return plain
        with plain:
            return self.tls.client().wrap_socket(plain, server_hostname=self.host)

    def _running(self) -> Program:
        if self._program is None:
            raise BrokerError(f"{self.name} on port {self.port} does not run: start() it")
        return self._program

    def _launch(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(self.directory)}
        command = self._command()
        environment |= self.installation.environment | self._variables()
        self.log.touch()
        self._said_before = self.log.stat().st_size
        self._program = Program(command, directory=self.directory, environment=environment, log=self.log)

    def _variables(self) -> dict[str, str]:
        """Its own variables of the environment."""
        return {}

    def _await_answer(self) -> bool:
        """True once it answers; false if its port was taken by another."""
        deadline = time.monotonic() + PATIENCE
        program = self._running()
        while program.running:
            try:
                if self._answers():
                    return True
            except OSError:
                pass
            if time.monotonic() > deadline:
                program.kill()
                raise BrokerError(f"{self.name} did not answer within {PATIENCE:g} s\n{program.said()}")
            time.sleep(0.01)
        program.kill()
        if not self._fixed and any(sign in self._said() for sign in self.taken):
            return False
        raise BrokerError(f"{self.name} ended instead of answering on port {self.port}\n{program.said()}")

    def _said(self) -> str:
        """What it printed since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            return log.read().decode(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{self.name} {self.installation.version} on {self.host}:{self.port}>"
