"""What T44 asks of the findings of a transport or a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from ..errors import BackendClosed
from ..model.finding import Finding, Severity
from .rules import check, fail

_CLOSED = "raise BackendClosed where the instance is not connected (or inherit diagnose, which says nothing)"


def check_findings(found: object) -> None:
    """``found`` is a list of findings that people can read."""
    if not isinstance(found, list):
        fail("T44", f"diagnose() gave {found!r}", "return a list of Finding")
    for item in cast("list[object]", found):
        if not isinstance(item, Finding):
            fail("T44", f"diagnose() gave {item!r}", "return paigeant.model.finding.Finding")
        check(isinstance(item.severity, Severity), "T44", f"its severity is {item.severity!r}", "use Severity")
        texts = (item.subject, item.message, item.remedy)
        check(all(isinstance(text, str) for text in texts), "T44", f"it says {texts!r}", "say it in text")
        check(item.subject.strip() and item.message.strip(), "T44", f"{item!r} says nothing", "say what, and why")


async def check_closed(diagnose: Callable[[], Awaitable[object]], when: str) -> None:
    """Of what is not connected there is nothing to say."""
    try:
        found = await diagnose()
    except BackendClosed:
        return
    except Exception as exc:
        fail("T44", f"{when}, diagnose() raised {exc!r}", _CLOSED)
    check(found == [], "T44", f"{when}, diagnose() gave {found!r}", _CLOSED)
