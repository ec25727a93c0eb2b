"""How a hop is claimed and committed: shared with the store, separate from it, or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import GIVE_BACK_WITHIN, Commit, HopProtocol, give_back
from .separate import SeparateProtocol
from .shared import SharedProtocol
from .storeless import StorelessProtocol

if TYPE_CHECKING:
    from ..environment import Environment

__all__ = ["GIVE_BACK_WITHIN", "Commit", "HopProtocol", "give_back", "protocol_for"]


def protocol_for(env: Environment, lease: float) -> HopProtocol:
    """The protocol of the environment's mode."""
    if env.store is None:
        return StorelessProtocol(env)
    if env.mode == "shared":
        return SharedProtocol(env, env.store)
    return SeparateProtocol(env, env.store, lease)
