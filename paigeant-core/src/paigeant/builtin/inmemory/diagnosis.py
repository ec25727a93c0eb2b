"""What an operator should know of memory."""

from __future__ import annotations

from ...model.finding import Finding, Severity


def diagnose() -> list[Finding]:
    """There is one thing to say, and it is the same for transport and store."""
    return [
        Finding(
            Severity.WARNING,
            "durability",
            "everything is in the memory of one process: nothing survives its end, and no other process sees it",
            "for anything but tests and trials set PAIGEANT_TRANSPORT=sqlite, or the name of a broker's transport",
        )
    ]
