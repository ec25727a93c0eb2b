"""What the client library logs of connections that end: a traceback each time, of which one line says all."""

from __future__ import annotations

import logging

_log = logging.getLogger("aiormq.connection")


class _OneLine(logging.Filter):
    """Errors without their tracebacks, unless the logger is set to DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and not _log.isEnabledFor(logging.DEBUG):
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]}", ()
            record.exc_info = None
        return True


_ONE_LINE = _OneLine()


def shorten() -> None:
    """For the whole process; more than once is once."""
    _log.addFilter(_ONE_LINE)
