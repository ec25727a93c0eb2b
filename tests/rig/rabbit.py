"""A private RabbitMQ: its Erlang node, and the port mapper (epmd) it needs, as two programs of ours."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rig import versions
from rig.certificates import Certificates
from rig.packages import Installation, Unavailable
from rig.ports import HOST, free_port
from rig.processes import Program
from rig.server import BrokerError, Server

COOKIE = "paigeant"
GREETING = b"AMQP\x00\x00\x09\x01"
SLOW = 2.0
"""Seconds for the server to answer a first frame."""
CONTROL = 60.0
"""Seconds for a command of rabbitmqctl."""


class PortMapper:
    """epmd in the foreground: where Erlang nodes find each other. One serves all nodes of a cluster."""

    def __init__(self, directory: Path, installation: Installation) -> None:
        self.directory, self.installation, self.port = directory, installation, 0
        self._program: Program | None = None

    def start(self) -> None:
        for _ in range(5):
            if self._program is not None and self._program.running:
                return
            self.port = self.port or free_port()
            self._launch()
        raise BrokerError(f"epmd does not start\n{self.directory / 'epmd.log'}")

    def _launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        epmd = shutil.which("epmd", path=self.installation.environment["PATH"])
        if epmd is None:
            raise Unavailable("epmd is missing beside Erlang")
        command = [epmd, "-port", str(self.port), "-address", HOST]
        log = self.directory / "epmd.log"
        program = Program(command, directory=self.directory, environment=self.installation.environment, log=log)
        self._program = program
        while program.running:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
        program.kill()
        self.port = 0

    def stop(self) -> None:
        if self._program is not None:
            self._program.kill()
            self._program = None


class RabbitServer(Server):
    """RabbitMQ without plugins. ``config`` holds keys of ``rabbitmq.conf``, such as ``{"consumer_timeout": "5000"}``.

    :param mapper: of a cluster; by default one of its own.
    :param node: the name of its Erlang node, unique for the mapper.
    """

    name = "rabbitmq"
    taken = ("eaddrinuse", "already in use")

    def __init__(
        self,
        directory: Path,
        *,
        config: Mapping[str, Any] | None = None,
        installation: Installation | None = None,
        port: int | None = None,
        tls: Certificates | None = None,
        mapper: PortMapper | None = None,
        node: str = "rabbit@localhost",
    ) -> None:
        super().__init__(directory, config=config, installation=installation, port=port, tls=tls)
        self._mapper = mapper or PortMapper(directory, self.installation)
        self._own_mapper = mapper is None
        self.node = node
        self._node_port = 0

    @classmethod
    def install(cls, tls: bool) -> Installation:
        return versions.RABBIT["rabbitmq-3.10"]()

    @property
    def url(self) -> str:
        return f"amqp{'s' if self.tls else ''}://guest:guest@{self.host}:{self.port}/"

    def start(self) -> None:
        self._mapper.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._own_mapper:
            self._mapper.stop()

    def kill(self) -> None:
        super().kill()
        if self._own_mapper:
            self._mapper.stop()

    def control(self, *arguments: str) -> str:
        """The output of ``rabbitmqctl`` with these arguments; takes a second or two.

        :raises BrokerError: if it fails.
        """
        command = [str(self.installation.path / "rabbitmqctl"), "-q", "-n", self.node, *arguments]
        environment = {"HOME": str(self.directory), "LANG": "C.UTF-8"} | self.installation.environment
        done = subprocess.run(
            command, env=environment | self._variables(), capture_output=True, text=True, timeout=CONTROL, check=False
        )
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _variables(self) -> dict[str, str]:
        return {
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the node instead of watching over it
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_PORT": str(self._mapper.port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput -start_epmd false +S 2:2 +SDcpu 2:2 +SDio 4 +A 4 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def _command(self) -> list[str]:
        self._node_port = free_port()
        settings = {
            **self._listening(),
            "disk_free_limit.absolute": "50MB",
            "log.console.level": "info",
            **self.config,
        }
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.directory / "rabbitmq.conf").write_text(text)
        (self.directory / "enabled_plugins").write_text("[].\n")
        cookie = self.directory / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(COOKIE)
            cookie.chmod(0o400)
        return [str(self.installation.path / "rabbitmq-server")]

    def _listening(self) -> dict[str, object]:
        where = f"{self.host}:{self.port}"
        if self.tls is None:
            return {"listeners.tcp.1": where}
        return {
            "listeners.tcp": "none",
            "listeners.ssl.1": where,
            "ssl_options.cacertfile": self.tls.authority,
            "ssl_options.certfile": self.tls.certificate,
            "ssl_options.keyfile": self.tls.key,
        }

    def _answers(self) -> bool:
        with self._connect(SLOW) as connection:
            connection.sendall(GREETING)
            return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
