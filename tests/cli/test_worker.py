"""``paigeant worker``, with real processes and real signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Commands, finish

LIMIT = 30.0


def until_exists(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.02)


def busy_worker(paigeant: Commands, activity: str, *options: str) -> tuple[subprocess.Popen[str], Path, str]:
    """A worker in the middle of ``activity``, which goes on when the gate appears."""
    gate = paigeant.directory / "gate"
    worker = paigeant.start("worker", "app", *options)
    workflow = paigeant("dispatch", activity, "--var", f"gate={gate}", "--json").json["correlation_id"]
    until_exists(paigeant.directory / "gate.began", worker)
    return worker, gate, workflow


@pytest.mark.parametrize(("number", "activity"), [(signal.SIGTERM, "hold"), (signal.SIGINT, "block")])
def test_one_signal_drains(paigeant: Commands, number: signal.Signals, activity: str) -> None:
    worker, gate, workflow = busy_worker(paigeant, activity)
    worker.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.3)  # it lets the activity finish
    gate.touch()
    done = finish(worker)
    assert done.code == 0, done.err
    assert paigeant("workflows", "status", workflow, "--json").json["outcome"] == "completed"


@pytest.mark.parametrize(("activity", "grace"), [("hold", "0"), ("block", "200ms")])
def test_what_outlives_the_grace_period_is_given_back_unharmed(paigeant: Commands, activity: str, grace: str) -> None:
    worker, gate, workflow = busy_worker(paigeant, activity, "--grace", grace)
    worker.send_signal(signal.SIGTERM)
    done = finish(worker)
    assert done.code == 0, done.err
    assert paigeant("workflows", "status", workflow, "--json").json["state"] == "ready"
    gate.touch()
    paigeant.start("worker", "app")
    outcome = paigeant("workflows", "result", workflow, "--timeout", "30", "--json")
    assert outcome.json["status"] == "completed"


@pytest.mark.parametrize(
    ("number", "activity"), [(signal.SIGTERM, "hold"), (signal.SIGINT, "block"), (signal.SIGTERM, "spin")]
)
def test_a_second_signal_stops_at_once(paigeant: Commands, number: signal.Signals, activity: str) -> None:
    worker, _, _ = busy_worker(paigeant, activity)
    worker.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.3)
    worker.send_signal(number)
    assert worker.wait(15) == 128 + number


def test_ctrl_c_ends_the_wait_and_not_the_workflow(paigeant: Commands) -> None:
    waiting = paigeant.start("dispatch", "notify", "--id", "wf-1", "--wait")
    assert waiting.stderr is not None
    while "nobody serves" not in waiting.stderr.readline():
        assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    done = finish(waiting)
    assert done.code == 130
    assert done.out == ""
    assert "Traceback" not in done.err
    assert paigeant("workflows", "status", "wf-1", "--json").json["state"] == "ready"


def test_a_killed_worker_loses_nothing(paigeant: Commands) -> None:
    worker, gate, workflow = busy_worker(paigeant, "hold")
    worker.kill()
    worker.wait()
    gate.touch()
    paigeant.start("worker", "app")
    outcome = paigeant("workflows", "result", workflow, "--timeout", "30", "--json")
    assert outcome.json["results"] == {"hold": "held"}


def test_it_says_where_the_data_is(paigeant: Commands) -> None:
    worker, gate, _ = busy_worker(paigeant, "hold")
    gate.touch()
    worker.terminate()
    done = finish(worker)
    assert str(paigeant.directory / ".paigeant" / "default.db") in done.err
    assert done.out == ""


def test_options_are_settings(paigeant: Commands) -> None:
    path = paigeant.directory / "other.db"
    options = ["--transport", f"sqlite://{path}", "--namespace", "blue", "--concurrency", "3", "--lease", "1m"]
    worker = paigeant.start("worker", "app", "--json", *options)
    assert worker.stdout is not None
    facts = json.loads(worker.stdout.readline())
    assert facts["location"] == str(path)
    assert facts["namespace"] == "blue"
    assert facts["activities"] == ["block", "chatty", "fail", "hold", "notify", "spin", "validate-input"]
    done = paigeant(
        *("dispatch", "notify", "--var", "email=x@y.z", "--wait", "--timeout", "30", "--json"),
        *("--transport", f"sqlite://{path}", "--namespace", "blue"),
    )
    assert done.json["results"] == {"notify": "sent to x@y.z  0"}


def test_with_json_only_json_is_on_stdout_and_in_the_logs(paigeant: Commands) -> None:
    worker = paigeant.start("worker", "app", "--json")
    done = paigeant("dispatch", "chatty", "--wait", "--timeout", "30")
    assert done.code == 0, done.err
    worker.terminate()
    result = finish(worker)
    assert [json.loads(line)["worker"] for line in result.out.splitlines()] != []
    lines = [json.loads(line) for line in result.err.splitlines() if line != "not JSON"]
    ended = [line for line in lines if line.get("status") == "completed"]
    assert ended[0]["level"] == "info"
    assert ended[0]["workflow"] in ended[0]["message"]
    assert "not JSON" in result.err.splitlines()


def test_the_log_level_is_that_asked_for(paigeant: Commands) -> None:
    worker = paigeant.start("worker", "app", "--log-level", "error", "--log-format", "json")
    paigeant("dispatch", "fail", "--wait", "--timeout", "30")
    worker.terminate()
    assert finish(worker).err == ""


TARGETS = {
    "a_worker.py": "from app import notify\nfrom paigeant import Worker, get_transport\n"
    "worker = Worker(get_transport(), [notify])\n"
    "def made():\n    return worker\n"
    "def listed():\n    return [notify]\n"
    "some = (notify,)\n",
    "own.py": "from app import fail, notify\nfrom paigeant import Worker, get_transport\n"
    "worker = alias = Worker(get_transport(), [notify])\n",
    "pkg/__init__.py": "",
    "pkg/tasks.py": "from app import notify\n",
    "dir with space/json.py": "from paigeant import activity\n@activity('notify')\n"
    "async def notify(email: str) -> str:\n    return 'from json.py'\n",
}


CAN_BE_SERVED = [
    "a_worker:worker",
    "a_worker:made",
    "a_worker:listed",
    "a_worker:some",
    "a_worker:notify",
    "a_worker.py:worker",
    "./a_worker.py",
    "own",
    "pkg.tasks",
    "pkg/tasks.py:notify",
    "dir with space/json.py",
]
LOAD = """
import sys
from paigeant import Worker
from paigeant.cli.targets import load
for target in sys.argv[1:]:
    found = load(target)
    print(*(found.activities if isinstance(found, Worker) else [one.name for one in found]))
"""


def test_what_can_be_served(paigeant: Commands) -> None:
    for name, text in TARGETS.items():
        path = paigeant.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    command = [sys.executable, "-c", LOAD, *CAN_BE_SERVED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=paigeant.directory)
    assert done.stdout.splitlines() == ["notify"] * len(CAN_BE_SERVED), done.stderr


@pytest.mark.parametrize("target", ["a_worker:worker", "a_worker.py"])
def test_a_worker_of_ones_own_and_a_file_are_served(paigeant: Commands, target: str) -> None:
    (paigeant.directory / "a_worker.py").write_text(TARGETS["a_worker.py"])
    paigeant.start("worker", target)
    done = paigeant("dispatch", "notify", "--var", "email=x@y.z", "--timeout", "30", "--json")
    assert done.json["status"] == "completed"
