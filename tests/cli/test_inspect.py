"""``paigeant queues``, ``plugins`` and ``keys``, in this process on a SQLite file of the test."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from paigeant import (
    ActivitySpec,
)
from paigeant.abc import Transport

from .conftest import InProcess
from .serving_kit import dispatched, served


def test_queues(cli: InProcess) -> None:
    empty = cli("queues")
    assert (empty.code, empty.out) == (0, "")
    assert "no queues yet in " in empty.err
    dispatched(ActivitySpec("double"))
    people = cli("queues")
    assert people.out.split("\n")[1].split() == ["double", "1", "0", "0", "0"]
    assert "nobody serves queue 'double'" in people.err
    machine = cli("queues", "double", "other", "--json")
    assert [(one["queue"], one["ready"], one["unserved"]) for one in machine.json] == [
        ("double", 1, True),
        ("other", 0, False),
    ]

    async def work(transport: Transport) -> Any:
        return await asyncio.to_thread(cli, "queues", "double", "--json")

    assert served(work).json[0]["consumers"] == 1


def test_keys_init(cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my keys" / "k.json"
    done = cli("keys", "init", "--path", str(path))
    assert done.out == f"export PAIGEANT_HS256_KEY_FILE='{path}'\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert json.loads(before)["keys"][0]["k"] not in done.out + done.err
    again = cli("keys", "init", "--path", str(path))
    assert again.code == 2
    assert "exists already" in again.err
    assert path.read_bytes() == before
    monkeypatch.setenv("PAIGEANT_HS256_KEY_FILE", str(path))
    assert cli("dispatch", "double").code == 0


def test_keys_init_has_a_place_of_its_own_for_each_namespace(
    cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    done = cli("keys", "init", "--namespace", "blue", "--json")
    path = tmp_path / "config" / "paigeant" / "blue.key"
    assert done.json == {"path": str(path), "namespace": "blue", "variable": "PAIGEANT_HS256_KEY_FILE"}
    assert path.exists()
    assert cli("keys", "init", "--signer", "missing").code == 2


def test_plugins_are_listed_even_if_every_one_is_broken(
    cli: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, machine = cli("plugins"), cli("plugins", "--json")
    assert people.code == machine.code == 0
    assert {"name": "sqlite", "kind": "transport", "status": "available"}.items() <= next(
        row for row in machine.json if row["name"] == "sqlite" and row["kind"] == "transport"
    ).items()
    assert "sqlite" in people.out
    broken = tmp_path / "site"
    info = broken / "acme_broken-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broken\nVersion: 9.9\n")
    names = ["acme", *sorted({row["name"] for row in machine.json})]
    (info / "entry_points.txt").write_text("[paigeant]\n" + "".join(f"{name} = acme_missing\n" for name in names))
    monkeypatch.syspath_prepend(str(broken))
    monkeypatch.setattr(sys, "path", [str(broken), *sys.path])
    done = cli("plugins", "--json")
    assert done.code == 0
    assert {row["status"] for row in done.json} <= {"broken", "conflict"}
    (acme,) = [row for row in done.json if row["name"] == "acme"]
    assert (acme["distribution"], acme["version"], acme["status"]) == ("acme-broken", "9.9", "broken")
    assert "acme_missing" in acme["error"]
    assert "acme_missing" in cli("plugins").out
