"""Exception text that may travel: bounded, and without what looks like a secret."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from itertools import islice
from typing import cast

MAX_TEXT = 8 * 1024
_CUT = " [cut]"

_MEMBERS = 3
"""Errors of a group that are told."""
_WORD = 256
"""Characters of a word at the cut that are dropped: half a secret may not be known as one."""
_FRAMES = 12
"""Innermost frames of a stack that are told."""

# The text may be hostile, and ``re`` keeps the whole process waiting: no pattern begins with a repetition, and
# none repeats without bound what may begin another match.
_SECRETS = (
    (
        # To its end, wherever that is: a key that was cut is one, too. First, for what follows knows a word at most.
        re.compile(
            r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*(?:-----END[A-Z ]{0,48}-----)?"
        ),
        "[redacted private key]",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 [redacted]"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}"), "[redacted token]"),
    # A password may hold "/" and "@", though it should not; after a port a "/" begins the path.
    (re.compile(r"://(?::|[^\s/:@]+:(?!\d{1,5}/))[^\s\"'<>]{1,512}@"), "://[redacted]@"),
    (re.compile(r"://[^\s/:@]*:[^\s/@]+@"), "://[redacted]@"),
    (
        re.compile(
            r"(?i)((?:api[_-]?key|secret|token|passw(?:or)?d|authorization)[\w-]{0,64}['\"]?\s*[=:]\s*)"
            r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&)}\]]+)"
        ),
        r"\1[redacted]",
    ),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|glpat|xox[abp])[-_][A-Za-z0-9_-]{12,}"), "[redacted key]"),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), "[redacted key]"),
)


def redact(text: str) -> str:
    """``text`` without tokens, passwords and keys, at most 8 KiB of UTF-8."""
    cut = len(text) > MAX_TEXT
    text = _first_words(text) if cut else text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    data = text.encode("utf-8", "replace")
    if not cut and len(data) <= MAX_TEXT:
        return data.decode()
    return data[: MAX_TEXT - len(_CUT)].decode("utf-8", "ignore") + _CUT


def _first_words(text: str) -> str:
    text = text[:MAX_TEXT]
    tail = text[-_WORD:].split()
    return text[: -len(tail[-1])] if tail and not text[-1].isspace() else text


def describe(error: BaseException) -> str:
    """Class and redacted text of an exception, with its cause chain and the first errors of a group."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(parts) < 4:
        seen.add(id(current))
        parts.append(_told(current) + _members(current))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return redact(" <- ".join(parts))


def frames(error: BaseException) -> str:
    """Where it was raised, innermost last: files, lines and functions, and never a value."""
    where = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)][-_FRAMES:]
    return "\n".join(f'  File "{code.co_filename}", line {line}, in {code.co_name}' for code, line in where)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The error itself; of a group, however deep, the errors in it, in their order."""
    pending = [error]
    while pending:
        current = pending.pop()
        if isinstance(current, BaseExceptionGroup):
            pending.extend(reversed(cast("BaseExceptionGroup[BaseException]", current).exceptions))
        else:
            yield current


def _members(error: BaseException) -> str:
    members = [_told(leaf) for leaf in islice(leaves(error), _MEMBERS + 1) if leaf is not error]
    if not members:
        return ""
    more = "; ..." if len(members) > _MEMBERS else ""
    return f" [{'; '.join(members[:_MEMBERS])}{more}]"


def _told(error: BaseException) -> str:
    name, text = class_name(error), _text(error)
    return f"{name}: {text}" if text else name


def class_name(error: BaseException) -> str:
    """The name of its class, which is never empty here: ``type("", (Exception,), {})`` is possible."""
    return type(error).__name__ or "Exception"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:
        return f"(its text cannot be had: {class_name(exc)})"
