"""Figures of storms: a file each under ``build/proof``, and all of them by ``python -m tests.chaos.brokers.report``."""

from __future__ import annotations

import json
import os
import random
from dataclasses import asdict, dataclass
from pathlib import Path

PROOF = bool(os.environ.get("PROOF"))
DIRECTORY = Path(__file__).parents[3] / "build" / "proof"


def seed() -> int:
    """``PROOF_SEED``, else another one each time."""
    given = os.environ.get("PROOF_SEED")
    return int(given) if given else random.SystemRandom().randrange(1_000_000)


@dataclass
class Report:
    """One storm.

    :param repeated: bodies that ran although that step of that workflow had run before.
    :param ended_again: workflows whose end was told more than once: without a store they ended more than once, with one
        it is the same fact again, under the same id.
    :param dispatched_again: dispatches that were repeated with the same id, as their outcome was unknown.
    :param elections: quorum queues that had to be told to elect a leader after the broker came back.
    :param asked_again: questions for an outcome that were repeated, as the backend did not answer.
    """

    name: str
    broker: str
    version: str
    store: str
    seed: int
    workflows: int = 0
    strikes: int = 0
    runs: int = 0
    repeated: int = 0
    ended_again: int = 0
    dispatched_again: int = 0
    asked_again: int = 0
    elections: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.workflows} workflows ended in {self.seconds:.1f} s through {self.strikes} strikes; "
            f"{self.runs} bodies ran, {self.repeated} of them again; {self.ended_again} ended again; "
            f"dispatch repeated {self.dispatched_again} times (PROOF_SEED={self.seed})"
        )

    def publish(self) -> None:
        print(self)
        save(self.name, asdict(self))


def save(name: str, figures: dict[str, object]) -> None:
    """Keep them where they can be quoted from."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    kept = {"full": PROOF, **figures}
    (DIRECTORY / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def main() -> None:
    for file in sorted(DIRECTORY.glob("*.json")):
        figures = json.loads(file.read_text())
        shown = ", ".join(f"{key} {value}" for key, value in figures.items() if key not in {"name"})
        print(f"{file.stem}: {shown}")


if __name__ == "__main__":
    main()
