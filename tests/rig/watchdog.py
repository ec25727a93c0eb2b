"""A program: kills the process groups named on its standard input when that ends.

``+GROUP`` names one, ``-GROUP`` forgets it. The other end of the pipe is held by the tests, so it closes however they
end, ``SIGKILL`` included.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
