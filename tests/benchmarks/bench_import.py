"""What ``import paigeant`` costs, over what nearly every user of it has imported anyway."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
BASE = "import asyncio; from pydantic import BaseModel"
BUDGET_MS = 40.0


def milliseconds(statement: str) -> float:
    code = f"{BASE}\nimport time; start = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


def main() -> None:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", BASE], check=True)
    base = (time.perf_counter() - start) * 1000
    print(f"budget for 'import paigeant': {BUDGET_MS:g} ms over {BASE!r} ({base:.0f} ms with the interpreter)")
    for statement in (
        "import paigeant",
        "from paigeant import Worker, WorkflowClient, WorkflowDispatcher, get_transport",
    ):
        print(f"{statement}: {statistics.median(milliseconds(statement) for _ in range(ROUNDS)):.1f} ms")


if __name__ == "__main__":
    main()
