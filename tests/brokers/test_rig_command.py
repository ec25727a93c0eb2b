"""``python -m rig``: a broker for one command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from rig import server

RIG = {"PYTHONPATH": str(Path(server.__file__).parents[1])}
SHOW = "import os; print(os.environ['PAIGEANT_TRANSPORT'], os.environ['PAIGEANT_REDIS_URL'], flush=True)"


def rig(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rig", *arguments],
        env=os.environ | RIG | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listening(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))) == 0


def test_the_command_runs_against_a_broker_that_is_stopped_afterwards() -> None:
    asks = f"{SHOW}; import urllib.parse, socket; u = urllib.parse.urlsplit(os.environ['PAIGEANT_REDIS_URL'])"
    done = rig("redis", "--", sys.executable, "-c", f"{asks}; socket.create_connection((u.hostname, u.port))")
    assert done.returncode == 0, done.stderr
    transport, url = done.stdout.split()
    assert transport == "redis" and not listening(url)


def test_its_exit_code_is_that_of_the_command() -> None:
    assert rig("sqlite", "--", sys.executable, "-c", "import sys; sys.exit(7)").returncode == 7


def test_a_running_server_is_used_instead() -> None:
    done = rig("redis", "--", sys.executable, "-c", SHOW, RIG_REDIS_URL="redis://broker.test/3")
    assert done.stdout.split() == ["redis", "redis://broker.test/3"]


def test_no_command() -> None:
    done = rig("redis")
    assert done.returncode == 2 and "no command" in done.stderr


def test_a_broker_that_cannot_be_had(tmp_path: Path) -> None:
    done = rig("rabbitmq", "--", "true", PATH=str(tmp_path), RIG_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1 and "RIG_RABBITMQ_URL" in done.stderr and "Traceback" not in done.stderr


def test_when_told_to_stop_it_stops_the_command_and_the_broker() -> None:
    waits = f"{SHOW}; import time; time.sleep(600)"
    command = [sys.executable, "-m", "rig", "redis", "--", sys.executable, "-c", waits]
    with subprocess.Popen(command, env=os.environ | RIG, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        url = running.stdout.readline().split()[1]
        assert listening(url)
        running.send_signal(signal.SIGTERM)
        try:
            assert running.wait(30) == 128 + signal.SIGTERM
        finally:
            running.kill()
    assert not listening(url)
