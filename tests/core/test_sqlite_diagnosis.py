"""What the SQLite transport and store say of themselves to ``paigeant doctor``."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from paigeant.builtin.sqlite import diagnosis
from paigeant.builtin.sqlite.store import SqliteStore
from paigeant.builtin.sqlite.transport import SqliteTransport
from paigeant.errors import BackendClosed
from paigeant.model.finding import Finding, Severity

MIB = 1024 * 1024


def by_subject(found: list[Finding]) -> dict[str, Finding]:
    subjects = {one.subject: one for one in found}
    assert len(subjects) == len(found)
    return subjects


async def diagnosed(path: Path, **options: object) -> dict[str, Finding]:
    async with SqliteTransport(path, **options) as transport:  # type: ignore[arg-type]
        return by_subject(await transport.diagnose())


async def test_a_new_file_is_as_it_should_be(tmp_path: Path) -> None:
    found = await diagnosed(tmp_path / "data" / "q.db")
    assert set(found) == {"version", "journal mode", "synchronous", "file system", "disk space", "permissions"}
    assert f"SQLite {sqlite3.sqlite_version}" in found["version"].message
    for subject in ("journal mode", "synchronous", "permissions"):
        assert (found[subject].severity, found[subject].remedy) == (Severity.OK, "")


async def test_normal_synchronous_is_a_warning(tmp_path: Path) -> None:
    found = (await diagnosed(tmp_path / "q.db", synchronous="NORMAL"))["synchronous"]
    assert found.severity is Severity.WARNING
    assert "loss of power" in found.message
    assert "PAIGEANT_SQLITE_SYNCHRONOUS" in found.remedy


async def test_another_journal_mode_is_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    await diagnosed(path)
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    other.close()
    found = (await diagnosed(path))["journal mode"]
    assert (found.severity, "'delete'" in found.message) == (Severity.WARNING, True)
    assert "journal_mode=WAL" in found.remedy


async def test_a_file_open_to_others_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    await diagnosed(path)
    path.chmod(0o644)
    found = (await diagnosed(path))["permissions"]
    assert (found.severity, found.remedy) == (Severity.WARNING, f"chmod go-rwx {str(path)!r}")
    path.chmod(0o600)
    path.parent.chmod(0o777)
    found = (await diagnosed(path))["permissions"]
    assert found.remedy == f"chmod go-rwx {str(path.parent)!r}"
    path.parent.chmod(0o1777)  # as /tmp: others cannot replace the file
    assert (await diagnosed(path))["permissions"].severity is Severity.OK


async def test_a_file_of_another_user_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    found = (await diagnosed(tmp_path / "q.db"))["owner"]
    assert found.severity is Severity.NOTE
    assert f"belongs to user {uid}" in found.message


async def test_a_store_alone_says_how_far_it_reaches(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        assert by_subject(await store.diagnose())["reach"].severity is Severity.NOTE
    async with SqliteTransport(tmp_path / "q.db") as transport:
        own = await transport.state_store().diagnose()
        assert [one.subject for one in own] == [one.subject for one in await transport.diagnose()]
    with pytest.raises(BackendClosed):
        await transport.state_store().diagnose()


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        ((3, 40, 1), Severity.WARNING),
        ((3, 51, 2), Severity.WARNING),
        ((3, 51, 3), Severity.OK),
        ((3, 53, 0), Severity.OK),
    ],
)
def test_the_fault_of_old_versions(version: tuple[int, int, int], severity: Severity) -> None:
    found = diagnosis.check_version(version)
    assert found.severity is severity
    assert ("3.51.3" in found.remedy) == (severity is Severity.WARNING)


MOUNTS = """\
22 28 0:20 / /proc rw,nosuid - proc proc rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 28 0:44 / /data/my\\040share rw shared:9 master:3 - nfs4 nas:/export rw,vers=4.2
41 28 0:45 / /remote rw - fuse.sshfs ann@host:/ rw
42 28 0:46 / /remote/disk rw - ext4 /dev/sdb1 rw
43 28 0:47 / /twice rw - cifs //nas/old rw
44 28 0:48 / /twice rw - xfs /dev/sdc1 rw
odd line
"""


@pytest.mark.parametrize(
    ("path", "severity", "kind"),
    [
        ("/srv/q.db", Severity.OK, "ext4"),
        ("/data/my share/deep/q.db", Severity.PROBLEM, "nfs4"),
        ("/data/my shared/q.db", Severity.OK, "ext4"),
        ("/remote/q.db", Severity.PROBLEM, "fuse.sshfs"),
        ("/remote/disk/q.db", Severity.OK, "ext4"),
        ("/twice/q.db", Severity.OK, "xfs"),
    ],
)
def test_network_file_systems_are_a_problem(
    path: str, severity: Severity, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(diagnosis, "MOUNTS", mounts)
    found = diagnosis.check_file_system(Path(path), diagnosis.read_mounts())
    assert (found.severity, kind in found.message) == (severity, True)


def test_a_system_that_does_not_tell_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "MOUNTS", tmp_path / "missing")
    found = diagnosis.check_file_system(Path("/srv/q.db"), diagnosis.read_mounts())
    assert found.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("free", "severity"),
    [(10 * MIB, Severity.PROBLEM), (100 * MIB, Severity.WARNING), (512 * MIB, Severity.OK)],
)
def test_free_space(free: int, severity: Severity) -> None:
    found = diagnosis.check_room(Path("/srv/q.db"), free)
    assert (found.severity, str(free // MIB) in found.message) == (severity, True)


def test_a_long_log_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    assert list(diagnosis.check_log(path)) == []
    with (tmp_path / "q.db-wal").open("wb") as log:
        log.truncate(300 * MIB)
    (found,) = diagnosis.check_log(path)
    assert (found.severity, "300 MiB" in found.message) == (Severity.WARNING, True)
