"""Runs the command line: errors become one line and an exit code."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence

from ..errors import ConfigurationError, InvalidWorkflow, PaigeantError
from .app import app
from .output import complain, escape_unprintable, install_warnings


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    state = {"debug": False}
    with warnings.catch_warnings():
        install_warnings()
        escape_unprintable()
        try:
            app(None if argv is None else list(argv), prog_name="paigeant", obj=state)
        except SystemExit as exc:
            return _code(exc)
        except PaigeantError as exc:
            if state["debug"]:
                traceback.print_exc()
            complain(str(exc))
            return 2 if isinstance(exc, (ConfigurationError, InvalidWorkflow)) else 1
    return 0


def _code(exc: SystemExit) -> int:
    if isinstance(exc.code, int):
        return exc.code
    return 0 if exc.code is None else 1
