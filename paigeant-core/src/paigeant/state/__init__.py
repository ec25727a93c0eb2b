"""What the store remembers of a branch: its cursor, and every decision with one winner."""

from .cursor import Cursor, State
from .ids import BranchKeys, idempotency_key

__all__ = ["BranchKeys", "Cursor", "State", "idempotency_key"]
