"""Heartbeats that do not depend on the event loop: a thread sends what a busy loop would owe."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .wire import Wire

_OWED = 0.6
"""Share of the heartbeat interval without any byte sent, after which one is owed. The client sends after a half."""


class Pulse:
    """One thread for all connections of the process; it runs while there are any.

    A stopped process (SIGSTOP, a dead machine) sends none, and its deliveries go to others: only a loop that is busy
    is helped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._wires: dict[Wire, float] = {}
        self._thread: threading.Thread | None = None

    @property
    def watched(self) -> int:
        """How many connections there are."""
        return len(self._wires)

    def add(self, wire: Wire, interval: float) -> None:
        """Watch over a connection whose heartbeat interval is ``interval`` seconds."""
        with self._lock:
            self._wires[wire] = interval
            self._news.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="paigeant-rabbitmq-pulse", daemon=True)
                self._thread.start()

    def remove(self, wire: Wire) -> None:
        """Idempotent."""
        with self._lock:
            self._wires.pop(wire, None)
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wires:
                    self._thread = None
                    return
                self._news.wait(min(self._wires.values()) / 5)
                wires = list(self._wires.items())
            now = time.monotonic()
            for wire, interval in wires:
                if now - wire.written > interval * _OWED:
                    wire.beat()


PULSE = Pulse()
