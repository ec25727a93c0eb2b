"""A hop that this worker owns for now."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..state.cursor import Cursor
from ..state.ids import BranchKeys

if TYPE_CHECKING:
    from ..abc import Delivery
    from ..envelope.opening import Opened
    from ..routing.slip import Task
    from ..state.transitions import Move


def nonce() -> str:
    """Names one writer or one claim; fresh each time, never a process id."""
    return os.urandom(6).hex()


@dataclass(eq=False)
class Claim:
    """Ownership of one hop: the verified message, the cursor as read, and the lease.

    :param delivery: the broker's delivery; settled already in separate mode.
    :param cursor: as this claim left it; without a store, made up from the message's headers.
    :param revision: of the cursor in the store; moved by the heartbeat in separate mode.
    :param poisoned: it has cost too many workers their life.
    :param again: whether the hop may have been started before.
    :param expires: end of the lease by the monotonic clock; 0: nobody has noted it yet.
    :param concluding: its activity is over; a renewal that is refused may only have come after its settle.
    :param ending: separate mode: the move that ends this claim, as written, once it is tried.
    """

    delivery: Delivery
    opened: Opened
    keys: BranchKeys
    cursor: Cursor
    revision: int = 0
    again: bool = False
    poisoned: bool = False
    concluding: bool = False
    ending: Move | None = None
    lost: bool = False
    expires: float = 0.0
    task: asyncio.Task[object] | None = field(default=None, repr=False)
    next: Task = field(init=False)
    """What to run. A claim is only made of a slip that has a next task."""

    def __post_init__(self) -> None:
        task = self.opened.slip.next
        assert task is not None
        self.next = task

    @property
    def seq(self) -> int:
        return self.opened.slip.seq

    @property
    def correlation_id(self) -> str:
        return self.opened.slip.origin.wf

    def lose(self) -> None:
        """Ownership is gone: stop the activity; write, publish, acknowledge nothing."""
        if not self.lost:
            self.lost = True
            if self.task is not None:
                self.task.cancel()
