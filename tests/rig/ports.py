"""Free ports of this machine."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
# Below what systems give to outgoing connections (from 32768): a client that keeps calling a dead server there
# would sooner or later be connected to itself, and hold the port.
PORTS = range(10_000, 32_000)


def free_port() -> int:
    """A port where nobody listens, and that no other process gets from here before this one ends.

    The same port of UDP, which no server here uses, is held as the sign of that. Others may still take it: whoever
    uses it tries another one then.
    """
    for port in random.SystemRandom().sample(PORTS, 1000):
        if _bindable(port) and _hold(port):
            return port
    raise OSError(f"no free port on {HOST} in {PORTS.start}-{PORTS.stop - 1}")


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _hold(port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as sign:
        try:
            sign.bind((HOST, port))
        except OSError:
            return False
        sign.detach()  # open until this process ends
    return True
