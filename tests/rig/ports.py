"""Free ports of this machine."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
# Below what systems give to outgoing connections (from 32768): a client that keeps calling a dead server there
# would sooner or later be connected to itself, and hold the port.
PORTS = range(12_000, 32_000)


def free_port() -> int:
    """A port where nobody listens. Somebody may, the moment after: whoever uses it tries another one then."""
    for _ in range(1000):
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port on {HOST} in {PORTS.start}-{PORTS.stop - 1}")
