"""What this transport itself keeps with a message: when it is due, and how often copies of it were received.

It travels in the property ``type``, where no header of the message can be in its way.
"""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """``due``: milliseconds since the epoch, 0 is now. ``received``: how often before this copy was made."""

    due: int = 0
    received: int = 0

    def __str__(self) -> str:
        return f"due={self.due};received={self.received}" if self.due or self.received else ""

    @classmethod
    def parse(cls, text: str) -> Note:
        """Anybody can write messages: what is not a note of ours is none."""
        due, _, received = text.partition(";")
        return cls(_number(due, "due="), _number(received, "received=")) if text else NONE


def _number(text: str, prefix: str) -> int:
    """Of 13 digits at most, as milliseconds have until the year 2286: nobody waits longer."""
    digits = text.removeprefix(prefix)
    return int(digits) if text.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) < 14 else 0


NONE = Note()
