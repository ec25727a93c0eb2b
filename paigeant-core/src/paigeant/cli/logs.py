"""Logs of ``paigeant worker``: on stderr, as text or as JSON of one line each."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from .output import printable


class Level(StrEnum):
    """``--log-level``."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    """``--log-format``."""

    TEXT = "text"
    JSON = "json"


_STANDARD = {*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "message", "asctime", "taskName"}


def configure(level: Level, form: Format) -> None:
    """Send all logs of this process to stderr, Python warnings too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form is Format.JSON else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())
    logging.captureWarnings(capture=True)


class TextFormatter(logging.Formatter):
    """Time in UTC, level, message, facts; then, indented, what else the message has and the trace.

    Control characters cannot steer a terminal, and as further lines are indented, none can pass for a record.
    """

    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={printable(value)}" for name, value in _facts(record).items())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        message, *further = map(printable, f"{record.getMessage().rstrip()}{trace}".split("\n"))
        line = f"{_time(record)} {record.levelname:<7} {message}{'  ' if facts else ''}{facts}"
        return "\n    ".join((line, *further))


class JsonFormatter(logging.Formatter):
    """One object a line: ``time``, ``level``, ``logger``, ``message``, facts, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            **_facts(record),
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller gave as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
