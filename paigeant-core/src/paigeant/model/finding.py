"""What a backend reports about itself: read by people, through ``paigeant doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Good to know: it limits something, or could not be read."""
    WARNING = "warning"
    """Works, and may lose data or stop under conditions that the finding names."""
    PROBLEM = "problem"
    """Does not work, or will lose data."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation.

    :param severity: how much it matters.
    :param subject: what was looked at, in a word or two: ``version``, ``appendfsync``, ``clock skew``.
    :param message: what was found and what follows from it, without credentials.
    :param remedy: what to do, as a setting or command; empty if nothing.
    """

    severity: Severity
    subject: str
    message: str
    remedy: str = ""
