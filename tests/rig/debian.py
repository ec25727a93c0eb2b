"""Programs out of Debian's packages: ``apt-get download`` and ``dpkg-deb -x``, without root and without installing.

They come with all libraries down to the C library and its loader, so a program of one release runs on another.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rig.packages import Unavailable, cache, cached, run, scratch

REMEDY = (
    "The rig takes it from Debian's packages ({suite}), unpacked below {cache}: that needs apt-get, apt-cache and "
    "dpkg-deb, Debian's keyring, and a mirror that answers. Otherwise {otherwise}"
)
RECIPE = 1
"""To be raised when what is done to the packages changes, so that no cache serves an older form."""
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LIBRARIES = (
    r"^(zlib1g|lib(c6|stdc\+\+6|gcc-s1|atomic1|tinfo6|ssl3|systemd0|cap2|gcrypt20|gpg-error0|lz4-1|lzma5|zstd1"
    r"|jemalloc2|lzf1)(t64)?)$"
)
_SKIP = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")


class Apt:
    """apt on lists of our own, so that neither root nor the machine's own release matters."""

    def __init__(self, suite: str, home: Path) -> None:
        for part in ("lists/partial", "cache/archives/partial"):
            (home / part).mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (home / "sources.list").write_text(f"deb {signed}{mirror()} {suite} main\n")
        settings = {
            "Dir::State": home,
            "Dir::State::lists": home / "lists",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "Dir::Etc::sourcelist": home / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "APT::Sandbox::User": "",
        }
        self.options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]

    def update(self) -> None:
        run(["apt-get", *self.options, "-q", "--error-on=any", "update"])

    def closure(self, package: str, wanted: str) -> list[str]:
        """``package`` and all it depends on, as far as the names match ``wanted`` or are libraries."""
        options = [f"--no-{kind}" for kind in _SKIP]
        said = run(["apt-cache", *self.options, "depends", "--recurse", *options, package])
        names = {line for line in said.splitlines() if line and not line.startswith((" ", "<", "|"))}
        return sorted({package, *(name for name in names if re.search(wanted, name) or re.search(LIBRARIES, name))})

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        run(["apt-get", *self.options, "-q", "download", *packages], directory=into)
        return sorted(into.glob("*.deb"))


def mirror() -> str:
    """The mirror of Debian that this machine uses."""
    try:
        said = run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)"])
    except Unavailable:
        return MIRROR
    known = [line.split() for line in said.splitlines()]
    plain = [line[2] for line in known if len(line) == 3 and line[0] == "Debian" and "-" not in line[1]]
    return plain[0].rstrip("/") if plain else MIRROR


def nothing(_: Path) -> None:
    """Leave the root as it is."""


def unpack(
    package: str, suite: str, *, otherwise: str, also: str = r"^$", finish: Callable[[Path], None] = nothing
) -> Path:
    """The root directory of ``package``, its libraries, and its dependencies that match ``also``.

    :param finish: is given the root, once, to adapt it.
    :param otherwise: the rest of the error if it cannot be had: what to do instead.
    :raises Unavailable: with the reason and the remedy.
    """

    def fetch(root: Path) -> None:
        with scratch() as home:
            apt = Apt(suite, home / "apt")
            apt.update()
            files = apt.download(apt.closure(package, also), home)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(run, [["dpkg-deb", "-x", str(file), str(root)] for file in files]))
        wrap(root)
        finish(root)

    try:
        return cached(f"{suite}-{package}-{RECIPE}", fetch)
    except Unavailable as reason:
        remedy = REMEDY.format(cache=cache(), suite=suite, otherwise=otherwise)
        raise Unavailable(f"{package} cannot be had here: {reason}\n{remedy}") from reason


def wrap(root: Path) -> None:
    """Put a script before each program that runs it with the loader and the libraries it came with."""
    [loader, *_] = sorted(root.rglob("ld-linux*.so.*"))
    libraries = sorted({str(file.parent) for file in root.rglob("lib*.so.*") if file.parent.name.endswith("-gnu")})
    for program in _programs(root):
        original = program.rename(program.with_name(f"{program.name}.elf"))
        command = shlex.join([str(loader), "--library-path", ":".join(libraries)])
        program.write_text(f'#!/bin/sh\nexec {command} --argv0 "$0" {shlex.quote(str(original))} "$@"\n')
        program.chmod(0o755)


def _programs(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.parent.name in ("bin", "sbin") and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                head = file.read(4096)
            if head.startswith(b"\x7fELF") and b"ld-linux" in head:
                yield path
