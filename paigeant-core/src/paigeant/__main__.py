"""``paigeant`` and ``python -m paigeant``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_EXTRA = {"typer", "rich", "click"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: without the name of the program; default ``sys.argv``.
    :returns: exit code: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
    """
    try:
        from .cli.main import run

        return run(argv)
    except KeyboardInterrupt:  # while modules are imported: nothing has begun
        return 130
    except ModuleNotFoundError as exc:
        missing = (exc.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        print(
            f"error: the command line needs {missing!r}, which is not installed; install it with: "
            'pip install "paigeant-core[cli]"',
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
