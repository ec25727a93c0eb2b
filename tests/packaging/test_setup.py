"""What a newcomer sees when the machine lacks something: one sentence with the remedy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "tools" / "setup.sh"
BASIC = ("bash", "dirname", "cut", "head", "sort", "env")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A clone without an environment, on a machine with nothing but the shell."""
    (tmp_path / "clone" / "tools").mkdir(parents=True)
    shutil.copy(SETUP, tmp_path / "clone" / "tools")
    (tmp_path / "bin").mkdir()
    for name in BASIC:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def program(machine: Path, name: str, script: str) -> None:
    path = machine / "bin" / name
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


def complaint(machine: Path) -> str:
    done = subprocess.run(
        [str(machine / "clone" / "tools" / "setup.sh")],
        env={"PATH": str(machine / "bin"), "HOME": str(machine)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert list((machine / "clone").iterdir()) == [machine / "clone" / "tools"], "nothing is left half-made"
    return done.stderr


def test_without_a_recent_python(machine: Path) -> None:
    program(machine, "python3", "exit 1")
    text = complaint(machine)
    assert text.startswith("setup: Python 3.11 or newer is needed")
    assert text.endswith("on Debian or Ubuntu: apt install python3 python3-venv\n")


def test_without_the_venv_module(machine: Path) -> None:
    program(machine, "python3", 'case "$*" in *ensurepip*) exit 1 ;; *executable*) echo "$0" ;; esac')
    program(machine, "uv", "echo uv 0.1.0")
    text = complaint(machine)
    assert text.count("\n") == 1
    assert text.endswith("has no venv module; on Debian or Ubuntu: apt install python3-venv\n")
