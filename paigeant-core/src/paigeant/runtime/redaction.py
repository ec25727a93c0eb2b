"""Exception text that may travel: bounded, and without what looks like a secret."""

from __future__ import annotations

import re

MAX_TEXT = 8 * 1024
_CUT = " [cut]"

_WORD = 256
"""Characters of a word at the cut that are dropped: half a secret may not be known as one."""

# The text may be hostile, and ``re`` keeps the whole process waiting: no pattern begins with a repetition, and
# none repeats without bound what may begin another match.
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 [redacted]"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}"), "[redacted token]"),
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
    """Class and redacted text of an exception, with its cause chain."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(parts) < 4:
        seen.add(id(current))
        name, text = class_name(current), _text(current)
        parts.append(f"{name}: {text}" if text else name)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return redact(" <- ".join(parts))


def class_name(error: BaseException) -> str:
    """The name of its class, which is never empty here: ``type("", (Exception,), {})`` is possible."""
    return type(error).__name__ or "Exception"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:
        return f"(its text cannot be had: {class_name(exc)})"
