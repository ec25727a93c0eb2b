"""Programs out of Debian's packages: ``apt-get download`` and ``dpkg-deb -x``, without root and without installing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rig.packages import Unavailable, cache, cached, run, scratch

REMEDY = (
    "The rig takes it from Debian's packages, unpacked below {cache}: that needs apt-get, apt-cache and dpkg-deb, "
    "and a mirror that answers. Elsewhere, start {what} yourself and name it in {setting}."
)
_SKIP = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")


class Apt:
    """apt with the lists of this machine, or with lists of its own where those are missing or out of date.

    :param lists: directory of its own lists; by default the machine's.
    """

    def __init__(self, lists: Path | None = None) -> None:
        self.options = [] if lists is None else _private(lists)

    def update(self) -> None:
        run(["apt-get", *self.options, "-q", "update"])

    def closure(self, package: str, wanted: str) -> list[str]:
        """``package`` and what it depends on, as far as the names match ``wanted``."""
        options = [f"--no-{kind}" for kind in _SKIP]
        said = run(["apt-cache", *self.options, "depends", "--recurse", *options, package])
        names = {line for line in said.splitlines() if line and not line.startswith((" ", "<", "|"))}
        return sorted({package, *(name for name in names if re.search(wanted, name))})

    def download(self, packages: Sequence[str], into: Path) -> None:
        run(["apt-get", *self.options, "-q", "download", *packages], directory=into)


def _private(lists: Path) -> list[str]:
    for part in ("lists/partial", "cache/archives/partial"):
        (lists / part).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State": lists,
        "Dir::State::lists": lists / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": lists / "cache",
        "APT::Sandbox::User": "",
    }
    return [part for key, value in options.items() for part in ("-o", f"{key}={value}")]


def unpack(name: str, package: str, *, depends: str, what: str, setting: str) -> Path:
    """The root directory of ``package`` and those of its dependencies that match ``depends``.

    :param name: of the directory in the cache.
    :param what: the program, and ``setting`` the variable that names a running one, for the error.
    :raises Unavailable: with the remedy.
    """

    def fetch(root: Path) -> None:
        with scratch() as downloads:
            _download(package, depends, downloads)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda file: run(["dpkg-deb", "-x", str(file), str(root)]), downloads.glob("*.deb")))

    try:
        return cached(name, fetch)
    except Unavailable as reason:
        remedy = REMEDY.format(cache=cache(), what=what, setting=setting)
        raise Unavailable(f"{what} cannot be had here: {reason}\n{remedy}") from reason


def _download(package: str, depends: str, into: Path) -> None:
    try:
        apt = Apt()
        apt.download(apt.closure(package, depends), into)
    except Unavailable:  # no lists, or lists that name packages the mirror no longer has
        apt = Apt(cache() / "apt")
        apt.update()
        apt.download(apt.closure(package, depends), into)
