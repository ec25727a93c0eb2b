"""How long traces of a workflow are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .environment import Environment


def lifetime(env: Environment, exp: int) -> float:
    """Seconds for which traces of a workflow are kept: as long as an old message of it could verify."""
    return max(60.0, exp + env.security.skew - env.now())
