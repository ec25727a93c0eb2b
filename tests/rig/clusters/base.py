"""What every cluster has in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Generic, Self, TypeVar

from rig.server import BrokerError, Server

S = TypeVar("S", bound=Server)
FORMING = 60.0
"""Seconds for the nodes to find each other, and for a new leader after the old one's death."""


class Cluster(ABC, Generic[S]):
    """Nodes on this machine. Each may be killed, paused and started again by itself."""

    nodes: Sequence[S]

    @property
    @abstractmethod
    def url(self) -> str:
        """All nodes that clients may call, separated by commas."""

    @property
    def environment(self) -> dict[str, str]:
        """Settings that make Paigeant use it."""
        return self.nodes[0].environment | {f"PAIGEANT_{self.nodes[0].name.upper()}_URL": self.url}

    def start(self) -> None:
        """Start all nodes, and wait until they are one cluster.

        :raises BrokerError: a node does not start, or they do not find each other.
        """
        try:
            each(self.nodes, lambda node: node.start())
            self._form()
        except BaseException:
            self.stop()
            raise

    @abstractmethod
    def _form(self) -> None:
        """Make one of the started nodes, and wait for it."""

    def stop(self) -> None:
        """Stop all nodes. Idempotent."""
        each(self.nodes, lambda node: node.stop())

    def kill(self, node: S) -> None:
        """``SIGKILL``."""
        node.kill()

    @property
    def running(self) -> list[S]:
        return [node for node in self.nodes if node.running]

    def eventually(self, true: Callable[[], bool], what: str) -> None:
        """:raises BrokerError: it does not become true."""
        deadline = time.monotonic() + FORMING
        while not _asked(true):
            if time.monotonic() > deadline:
                logs = "\n".join(str(node.log) for node in self.nodes)
                raise BrokerError(f"{type(self).__name__}: not {what} within {FORMING:g} s\n{logs}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _asked(true: Callable[[], bool]) -> bool:
    """A node that does not answer, answers no."""
    try:
        return true()
    except (OSError, BrokerError):
        return False


def each(nodes: Sequence[S], act: Callable[[S], None]) -> None:
    """On all at the same time, and on all even if one fails."""
    with ThreadPoolExecutor(len(nodes)) as pool, ExitStack() as results:
        for node in nodes:
            results.callback(pool.submit(act, node).result)
